/** A seed's network as systemd-networkd reads it: file names and their contents. */
import type { Seed } from "../../../services/cluster/seed.ts";

type Network = NonNullable<Seed["network"]>;
type Interface = Network["interfaces"][number];
type Addressing = Pick<Interface, "dhcp" | "addresses" | "gateway" | "dns">;

export const networkPrefix = "50-mulga-";
const made = "# Made from the seed; changes here are lost.";

/** VLANs have the hardware address of their interface: only what is no virtual one is meant. */
const physical = "Kind=!*";

function networkSection(of: Addressing, more: readonly string[] = []): string[] {
  const dhcp = of.dhcp ?? of.addresses === undefined;
  return [
    "[Network]",
    `DHCP=${dhcp ? "yes" : "no"}`,
    ...(of.addresses ?? []).map((address) => `Address=${address}`),
    ...(of.gateway === undefined ? [] : [`Gateway=${of.gateway}`]),
    ...(of.dns ?? []).map((server) => `DNS=${server}`),
    ...more,
    "LinkLocalAddressing=ipv6",
    "LLMNR=no",
    "MulticastDNS=no",
    "",
    ...(dhcp ? ["[DHCPv4]", "ClientIdentifier=mac", "UseDomains=yes", ""] : []),
  ];
}

/** The files below /etc/systemd/network; none when the seed says nothing of the network. */
export function networkFiles(network: Network | undefined): ReadonlyMap<string, string> {
  const files = new Map<string, string>();
  if (network === undefined) return files;
  const put = (name: string, lines: readonly string[]) =>
    files.set(`${networkPrefix}${name}`, `${[made, ...lines].join("\n").trimEnd()}\n`);
  for (const [at, one] of network.interfaces.entries()) {
    const vlans = (one.vlans ?? []).map((vlan) => ({ vlan, name: `vlan${at}.${vlan.id}` }));
    put(`${at}.network`, [
      "[Match]",
      one.mac === undefined ? `Name=${one.name}` : `MACAddress=${one.mac}`,
      physical,
      "",
      "[Link]",
      "RequiredForOnline=no",
      ...(one.mtu === undefined ? [] : [`MTUBytes=${one.mtu}`]),
      "",
      ...networkSection(one, vlans.map(({ name }) => `VLAN=${name}`)),
    ]);
    for (const { vlan, name } of vlans) {
      put(`${name}.netdev`, [
        "[NetDev]",
        `Name=${name}`,
        "Kind=vlan",
        "",
        "[VLAN]",
        `Id=${vlan.id}`,
      ]);
      put(`${name}.network`, [
        "[Match]",
        `Name=${name}`,
        "",
        "[Link]",
        "RequiredForOnline=no",
        "",
        ...networkSection(vlan),
      ]);
    }
  }
  // Sorted behind the others: the ports that the seed does not name.
  put("others.network", ["[Match]", "Type=ether", physical, "", "[Link]", "Unmanaged=yes"]);
  return files;
}
