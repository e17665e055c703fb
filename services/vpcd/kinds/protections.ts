/** What keeps VPCs from the outside, as records: exclusions from the block, encryption controls. */
import { kind } from "../../resources/kind.ts";
import type { Ec2, Shape } from "../../resources/wire.ts";

type ExclusionShape = Shape<Ec2.VpcBlockPublicAccessExclusion> & {
  readonly VpcId?: string | undefined;
  readonly SubnetId?: string | undefined;
};
export const exclusion = kind<ExclusionShape>({
  name: "vpc-block-public-access-exclusion",
  idPrefix: "vpcbpa-exclude-",
  id: "ExclusionId",
  owner: null,
  notFound: "InvalidVpcBlockPublicAccessExclusionId.NotFound",
  filters: ["internet-gateway-exclusion-mode", "resource-arn", "state"],
  references: { VpcId: "vpc", SubnetId: "subnet" },
  settles: {
    member: "State",
    to: {
      "create-in-progress": "create-complete",
      "update-in-progress": "update-complete",
      "delete-in-progress": "deleted",
    },
  },
  quota: { most: 50, code: "VpcBlockPublicAccessExclusionLimitExceeded" },
});

export type ControlShape = Shape<Ec2.VpcEncryptionControl>;
export const encryptionControl = kind<ControlShape>({
  name: "vpc-encryption-control",
  idPrefix: "vpcec-",
  id: "VpcEncryptionControlId",
  owner: null,
  notFound: "InvalidVpcEncryptionControlId.NotFound",
  filters: ["state", "vpc-id", "mode", "vpc-encryption-control-id"],
  references: { VpcId: "vpc" },
  settles: {
    member: "State",
    to: {
      "creating": "available",
      "enforce-in-progress": "available",
      "monitor-in-progress": "available",
      "deleting": "deleted",
    },
  },
});
