/**
 * Machines that are network namespaces on one switch: real sockets, real multicast, nothing of the
 * host's own network is touched. Needs root.
 */
import { freePort } from "../kit/nats.ts";

async function ip(...args: string[]): Promise<void> {
  const { success, stderr } = await new Deno.Command("ip", { args }).output();
  if (!success) throw new Error(`ip ${args.join(" ")}: ${new TextDecoder().decode(stderr).trim()}`);
}

export interface TestNetwork extends AsyncDisposable {
  /** The namespace of each machine, in the order of its address 10.77.0.1, 10.77.0.2 … */
  readonly machines: readonly string[];
  addressOf(machine: number): string;
  /** A program in a machine. */
  command(machine: number, program: string, options: Deno.CommandOptions): Deno.Command;
  addAddress(machine: number, address: string): Promise<void>;
}

export async function startNetwork(count: number): Promise<TestNetwork> {
  // A port nobody has makes a name nobody has.
  const mark = `mc${freePort().toString(36)}`;
  const names = Array.from({ length: count }, (_, at) => `${mark}-${at}`);
  const hub = `${mark}-hub`;
  const made: string[] = [];
  const dispose = async () => {
    for (const name of made) await ip("netns", "del", name).catch(() => {});
  };
  try {
    for (const name of [hub, ...names]) {
      await ip("netns", "add", name);
      made.push(name);
      await ip("-n", name, "link", "set", "lo", "up");
    }
    await ip("-n", hub, "link", "add", "switch", "type", "bridge", "mcast_snooping", "0");
    await ip("-n", hub, "link", "set", "switch", "up");
    for (const [at, name] of names.entries()) {
      const port = `p${at}`;
      await ip(
        "-n",
        hub,
        "link",
        "add",
        port,
        "type",
        "veth",
        "peer",
        "name",
        "eth0",
        "netns",
        name,
      );
      await ip("-n", hub, "link", "set", port, "master", "switch", "up");
      await ip("-n", name, "addr", "add", `10.77.0.${at + 1}/24`, "dev", "eth0");
      await ip("-n", name, "link", "set", "eth0", "up");
    }
  } catch (error) {
    await dispose();
    throw error;
  }
  const nameOf = (machine: number): string => {
    const name = names[machine];
    if (name === undefined) throw new RangeError(`there is no machine ${machine}`);
    return name;
  };
  return {
    machines: names,
    addressOf: (machine) => `10.77.0.${machine + 1}`,
    command: (machine, program, options) =>
      new Deno.Command("ip", {
        ...options,
        args: ["netns", "exec", nameOf(machine), program, ...(options.args ?? [])],
      }),
    addAddress: (machine, address) =>
      ip("-n", nameOf(machine), "addr", "add", address, "dev", "eth0"),
    [Symbol.asyncDispose]: dispose,
  };
}
