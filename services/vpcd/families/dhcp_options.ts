/** DHCP option sets; a VPC has one, or `default`. */
import type { ActionTable } from "../../resources/actions.ts";
import { parseAddress } from "../../resources/addresses.ts";
import { invalidParameter, missingParameter } from "../../resources/errors.ts";
import { dhcpOptions } from "../kinds/dhcp_options.ts";
import { vpc } from "../kinds/vpcs.ts";
import type { Network } from "../network.ts";

const names = [
  "domain-name",
  "domain-name-servers",
  "ipv6-address-preferred-lease-time",
  "netbios-name-servers",
  "netbios-node-type",
  "ntp-servers",
];

export const dhcpActions = ({ operations: n, records }: Network) => ({
  CreateDhcpOptions: n.creates(dhcpOptions, {
    answer: "DhcpOptions",
    make: (input) => {
      const configurations = input.DhcpConfigurations ?? [];
      if (configurations.length === 0) throw missingParameter("dhcpConfiguration");
      const seen = new Set<string>();
      return {
        DhcpConfigurations: configurations.map(({ Key: key = "", Values: values = [] }) => {
          if (!names.includes(key) || seen.has(key)) {
            throw invalidParameter("name", key, `Expected once: ${names.join(", ")}.`);
          }
          seen.add(key);
          if (values.length === 0 || (key.endsWith("servers") && values.length > 4)) {
            throw invalidParameter("value", values.join(","), `${key} takes one to four values.`);
          }
          for (const value of values) {
            if (value.length > 255) {
              throw invalidParameter("value", value, "Up to 255 characters are allowed.");
            }
            const isAddress = parseAddress(value) !== undefined || value === "AmazonProvidedDNS";
            if (key.endsWith("servers") && !isAddress) {
              throw invalidParameter("value", value, `${key} takes IP addresses.`);
            }
            if (key === "netbios-node-type" && !["1", "2", "4", "8"].includes(value)) {
              throw invalidParameter("value", value, "Expected: 1, 2, 4 or 8.");
            }
          }
          return { Key: key, Values: values.map((Value) => ({ Value })) };
        }),
      };
    },
  }),
  DescribeDhcpOptions: n.describes(dhcpOptions, { list: "DhcpOptions", ids: "DhcpOptionsIds" }),
  DeleteDhcpOptions: n.deletes(dhcpOptions, { id: "DhcpOptionsId" }),
  AssociateDhcpOptions: n.changes(vpc, {
    id: "VpcId",
    change: async (_record, input, call) => {
      if (input.DhcpOptionsId !== "default") {
        await records.require(dhcpOptions, call.account_id, input.DhcpOptionsId);
      }
      return { DhcpOptionsId: input.DhcpOptionsId };
    },
  }),
} satisfies ActionTable);
