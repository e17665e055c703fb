/**
 * The addresses by which others on the network reach this machine, and word of their changes.
 *
 * systemd-networkd rewrites its files below /run whenever a link or a lease changes; where it does not
 * run, changes are found at the next announcement.
 */
export interface OwnAddress {
  readonly interface: string;
  readonly address: string;
  readonly family: "IPv4" | "IPv6";
}

const networkdState = "/run/systemd/netif";

/** Names of interfaces that lead to guests or containers and not to people. */
const inward = /^(lo|docker|veth|virbr|tap|vnet|br-int|ovs-|genev_)/;

/** Addresses in the order in which they are worth telling: IPv4 first, no link-local ones. */
export function ownAddresses(): readonly OwnAddress[] {
  return Deno.networkInterfaces()
    .filter(({ name, address }) =>
      !inward.test(name) && !/^(127\.|169\.254\.|::1$|fe80:)/i.test(address)
    )
    .map(({ name, address, family }) => ({ interface: name, address, family }))
    .sort((a, b) => a.family === b.family ? 0 : a.family === "IPv4" ? -1 : 1);
}

/** `address:port` as a URL has it. */
export const hostPort = (address: string, port: number) =>
  address.includes(":") ? `[${address}]:${port}` : `${address}:${port}`;

/** Calls `changed` when networkd says so, until `stopping`. Does nothing where it does not run. */
export async function watchAddresses(changed: () => void, stopping: AbortSignal): Promise<void> {
  let watcher: Deno.FsWatcher;
  try {
    watcher = Deno.watchFs(networkdState, { recursive: true });
  } catch {
    return;
  }
  const close = () => watcher.close();
  if (stopping.aborted) return close();
  stopping.addEventListener("abort", close, { once: true });
  for await (const _event of watcher) changed();
}
