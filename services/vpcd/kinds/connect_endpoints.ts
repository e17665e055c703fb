/** Instance connect endpoints as records. */
import { kind } from "../../resources/kind.ts";
import type { Ec2, Shape } from "../../resources/wire.ts";

export const connectEndpoint = kind<Shape<Ec2.Ec2InstanceConnectEndpoint>>({
  name: "instance-connect-endpoint",
  idPrefix: "eice-",
  id: "InstanceConnectEndpointId",
  notFound: "InvalidInstanceConnectEndpointId.NotFound",
  filters: ["instance-connect-endpoint-id", "state", "subnet-id", "vpc-id"],
  references: { SubnetId: "subnet", SecurityGroupIds: "security-group" },
  page: { minimum: 1, maximum: 50, above: "refuse" },
  settles: {
    member: "State",
    to: {
      "create-in-progress": "create-complete",
      "update-in-progress": "update-complete",
      "delete-in-progress": "delete-complete",
    },
  },
  quota: { most: 50, code: "InstanceConnectEndpointLimitExceeded" },
});
