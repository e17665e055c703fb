/**
 * By which of the block engine's doors this node's guests reach their disks: through rings in their own
 * memory where QEMU can share that with the engine, and over NBD elsewhere or where the operator says so.
 *
 * QEMU is asked by starting one that does what a guest's would: it makes memory that can be mapped from
 * outside, has a connection that is made again, and knows the device. Whatever it cannot do leaves NBD, which
 * everything can; guests that run keep what they were started with.
 */
import type { Log } from "../../log/log.ts";
import { hostArchitecture } from "./node_machine.ts";
import { chardevOption, type DiskDoor } from "./qemu_disks.ts";
import { sharedMemory } from "./qemu_arguments.ts";
import { programs } from "./qemu.ts";

/** Starting a QEMU without a machine takes 50 ms here. */
const probeBound_ms = 30_000;
const device = "vhost-user-blk-pci";

/** @returns why guests' memory cannot be shared with the engine; undefined when it can */
export async function whyNotShared(
  program: string = programs[hostArchitecture],
): Promise<string | undefined> {
  const nobody = { volume_id: "vol-0", socket: "", vhost_socket: "/nonexistent", slot: 0 };
  const asked = [
    { execute: "qmp_capabilities" },
    { execute: "device-list-properties", arguments: { typename: device } },
    { execute: "quit" },
  ];
  try {
    const child = new Deno.Command(program, {
      args: [
        ...["-machine", "none", "-nodefaults", "-display", "none", "-qmp", "stdio"],
        ...["-object", sharedMemory(2), "-chardev", chardevOption(nobody)],
      ],
      stdin: "piped",
      stdout: "piped",
      stderr: "piped",
      signal: AbortSignal.timeout(probeBound_ms),
    }).spawn();
    const writer = child.stdin.getWriter();
    const lines = asked.map((command) => `${JSON.stringify(command)}\n`).join("");
    // One that ended at once has said why, and takes nothing any more.
    await writer.write(new TextEncoder().encode(lines)).catch(() => {});
    await writer.close().catch(() => {});
    const { success, stdout, stderr } = await child.output();
    const decoder = new TextDecoder();
    if (!success) return decoder.decode(stderr).trim().slice(0, 1_000) || `${program} failed`;
    const refused = decoder.decode(stdout).split("\n").find((line) => line.includes('"error"'));
    return refused === undefined ? undefined : `${program} has no ${device}: ${refused.trim()}`;
  } catch (error) {
    if (!(error instanceof Error)) throw error;
    return `${program} cannot be started: ${error.message}`;
  }
}

export async function chooseDiskDoor(
  wanted: DiskDoor | undefined,
  log: Log,
  reasonAgainst: () => Promise<string | undefined> = whyNotShared,
): Promise<DiskDoor> {
  if (wanted === "nbd") return "nbd";
  const reason = await reasonAgainst();
  if (reason === undefined) return "vhost-user";
  log.warn("disks_over_nbd", {
    reason,
    effect: "Guests reach their disks over NBD, which costs more processor time for each request.",
    ...(wanted === undefined ? {} : { configured: wanted }),
  });
  return "nbd";
}
