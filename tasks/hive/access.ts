/**
 * `hive ssh` and `hive console`: into a guest over the ways that compute knows. Host keys are kept
 * per instance in the node's own file, since all guests share this machine's address and an instance
 * that is gone must not raise an alarm for the next one on its port.
 */
import { join } from "node:path";
import { systemContext } from "../../services/bus/subject.ts";
import { type InstanceAccess, instanceAccess } from "../../services/compute/contract.ts";
import { exists } from "../init/write_file.ts";
import { CommandError } from "../terminal/command.ts";
import { busOf, type NodeOfCommand } from "./node.ts";

async function accessOf(node: NodeOfCommand, instance_id: string): Promise<InstanceAccess> {
  await using bus = await busOf(node);
  return await bus.ask(instanceAccess, { instance_id }, systemContext(10_000));
}

/** The default user of Debian's cloud images, and of ours. */
const defaultUser = "debian";

/** The system's ssh with what it needs to reach the guest; everything else is the caller's. */
export function sshCommand(
  access: InstanceAccess,
  knownHosts: string,
  own: readonly string[],
  remote: readonly string[],
): string[] {
  if (access.ssh_port === undefined) {
    throw new CommandError(
      `${access.instance_id} has no SSH port now: it is not running. ` +
        `\`hive console ${access.instance_id}\` shows its last words.`,
    );
  }
  const namesUser = own.some((word) =>
    word === "-l" || /^-l./.test(word) || /^-o\s*User/i.test(word)
  );
  return [
    "ssh",
    ...["-p", String(access.ssh_port)],
    ...["-o", `UserKnownHostsFile=${knownHosts}`, "-o", `HostKeyAlias=${access.instance_id}`],
    // The way leads over this machine's loopback: the first key seen is the guest's.
    ...["-o", "StrictHostKeyChecking=accept-new", "-o", "CheckHostIP=no"],
    ...(namesUser ? [] : ["-l", defaultUser]),
    ...own,
    "127.0.0.1",
    ...remote,
  ];
}

export async function ssh(
  node: NodeOfCommand,
  instance_id: string,
  own: readonly string[],
  remote: readonly string[],
): Promise<number> {
  const access = await accessOf(node, instance_id);
  const [program, ...args] = sshCommand(
    access,
    join(node.paths.root, "known_hosts"),
    own,
    remote,
  );
  const child = new Deno.Command(program ?? "ssh", {
    args,
    stdin: "inherit",
    stdout: "inherit",
    stderr: "inherit",
  }).spawn();
  return (await child.status).code;
}

/** Leaves an attached console: Ctrl-], as telnet and virsh do. */
const leave = 0x1d;

/** Shows the serial console's output so far; stays with it, typing too, when there is a socket. */
export async function console_(
  node: NodeOfCommand,
  instance_id: string,
  options: { readonly attach: boolean },
): Promise<number> {
  const access = await accessOf(node, instance_id);
  if (await exists(access.console_log)) {
    using file = await Deno.open(access.console_log);
    for await (const chunk of file.readable) await writeAll(Deno.stdout, chunk);
  }
  if (!options.attach) return 0;
  if (access.console_socket === undefined || !await exists(access.console_socket)) {
    throw new CommandError(`${instance_id} is not running, so there is no console to attach to.`);
  }
  const socket = await Deno.connect({ transport: "unix", path: access.console_socket });
  console.error(`-- ${instance_id}: serial console; Ctrl-] leaves --`);
  const terminal = Deno.stdin.isTerminal();
  if (terminal) Deno.stdin.setRaw(true);
  try {
    await Promise.race([
      (async () => {
        const buffer = new Uint8Array(4096);
        for (let got = await socket.read(buffer); got !== null; got = await socket.read(buffer)) {
          await writeAll(Deno.stdout, buffer.subarray(0, got));
        }
      })(),
      (async () => {
        const buffer = new Uint8Array(1024);
        for (
          let got = await Deno.stdin.read(buffer);
          got !== null;
          got = await Deno.stdin.read(buffer)
        ) {
          const typed = buffer.subarray(0, got);
          const end = terminal ? typed.indexOf(leave) : -1;
          await writeAll(socket, end < 0 ? typed : typed.subarray(0, end));
          if (end >= 0) return;
        }
        // Input that was piped has ended; what the guest answers is still wanted.
        await new Promise(() => {});
      })(),
    ]);
  } finally {
    if (terminal) Deno.stdin.setRaw(false);
    socket.close();
  }
  return 0;
}

async function writeAll(
  to: { write(bytes: Uint8Array): Promise<number> },
  bytes: Uint8Array,
): Promise<void> {
  for (let at = 0; at < bytes.length;) at += await to.write(bytes.subarray(at));
}
