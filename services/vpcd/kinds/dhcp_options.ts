/** Sets of DHCP options as records. */
import { kind } from "../../resources/kind.ts";
import type { Ec2, Shape } from "../../resources/wire.ts";

export const dhcpOptions = kind<Shape<Ec2.DhcpOptions>>({
  name: "dhcp-options",
  idPrefix: "dopt-",
  id: "DhcpOptionsId",
  notFound: "InvalidDhcpOptionID.NotFound",
  malformed: "InvalidDhcpOptionsId.Malformed",
  filters: [
    "dhcp-options-id",
    "key=DhcpConfigurations.Key",
    "value=DhcpConfigurations.Values.Value",
  ],
});
