/**
 * A guest's TPM 2.0: `swtpm`, whose state is the instance's and outlives its stops.
 *
 * Before the first start the endorsement keys are read out of the new TPM and kept beside its state, since
 * a TPM that a guest uses takes no second client. While the guest runs, swtpm listens to its QEMU and
 * ends with it. One that was left over by a start that failed is ended before the next.
 */
import { isProcessOf, killProcessOf } from "../../../ffi/process.ts";
import { delay } from "../delay.ts";
import { StartFailed } from "./hypervisor.ts";
import type { MachinePaths } from "./machine_paths.ts";
import { readPid } from "./qemu_machine.ts";
import { type EndorsementKeyType, readEndorsementKeys } from "./tpm_keys.ts";
import { textIfThere } from "../../config/missing_files.ts";

export type EndorsementKeys = Readonly<Record<EndorsementKeyType, string>>;

/** Making an RSA key takes a second, and several on a machine under load. */
const bound_ms = 60_000;
const pause_ms = 20;

const stateOf = (paths: MachinePaths) => `dir=${paths.tpm.state}`;

function failed(what: string, said: Uint8Array): StartFailed {
  const text = new TextDecoder().decode(said).trim().slice(0, 500);
  return new StartFailed(`The TPM ${what}${text === "" ? "." : `: ${text}`}`, false);
}

async function connect(path: string, signal: AbortSignal): Promise<Deno.UnixConn> {
  for (;;) {
    try {
      return await Deno.connect({ transport: "unix", path });
    } catch (error) {
      if (signal.aborted) throw error;
      await delay(pause_ms);
    }
  }
}

async function exchange(connection: Deno.UnixConn, command: Uint8Array): Promise<Uint8Array> {
  for (let at = 0; at < command.length;) at += await connection.write(command.subarray(at));
  const buffer = new Uint8Array(4096);
  let held = 0;
  for (;;) {
    const count = await connection.read(buffer.subarray(held));
    if (count === null) return buffer.slice(0, held);
    held += count;
    // A response says its own length after its tag.
    const length = held < 6 ? buffer.length : new DataView(buffer.buffer).getUint32(2);
    if (held >= Math.min(length, buffer.length)) return buffer.slice(0, held);
  }
}

/** The keys that an earlier start has read. */
export async function keptKeys(paths: MachinePaths): Promise<EndorsementKeys | undefined> {
  const text = await textIfThere(paths.tpm.keys);
  return text === undefined ? undefined : JSON.parse(text);
}

async function makeKeys(paths: MachinePaths): Promise<void> {
  const { keys, server } = paths.tpm;
  const signal = AbortSignal.timeout(bound_ms);
  await Deno.remove(server).catch(() => {});
  const child = new Deno.Command("swtpm", {
    args: [
      ...["socket", "--tpm2", "--tpmstate", stateOf(paths), "--terminate"],
      ...["--server", `type=unixio,path=${server}`, "--flags", "not-need-init"],
    ],
    stdin: "null",
    stdout: "null",
    stderr: "piped",
    signal,
  }).spawn();
  const said = new Response(child.stderr).bytes();
  try {
    using connection = await Promise.race([
      connect(server, signal),
      child.status.then(async () => Promise.reject(failed("did not start", await said))),
    ]);
    const read = await readEndorsementKeys((command) => exchange(connection, command));
    await Deno.writeTextFile(`${keys}.new`, JSON.stringify(read), { mode: 0o600 });
    await Deno.rename(`${keys}.new`, keys);
  } finally {
    // It ends with its connection; the state is written before a command is answered.
    try {
      child.kill("SIGTERM");
    } catch {
      // It has ended already.
    }
    await child.status;
    await said;
    await Deno.remove(server).catch(() => {});
  }
}

/** Ends a TPM that nobody uses: its QEMU did not come up. */
export async function endTpm(paths: MachinePaths): Promise<void> {
  const pid = await readPid(paths.tpm.pid);
  if (pid === undefined || !killProcessOf(pid, stateOf(paths))) return;
  const limit = performance.now() + 5_000;
  while (isProcessOf(pid, stateOf(paths)) && performance.now() < limit) await delay(pause_ms);
}

/** Starts the TPM that QEMU connects to. @throws StartFailed */
export async function startTpm(paths: MachinePaths): Promise<void> {
  await Deno.mkdir(paths.tpm.state, { recursive: true, mode: 0o700 });
  await endTpm(paths);
  if (await keptKeys(paths) === undefined) await makeKeys(paths);
  await Deno.remove(paths.tpm.control).catch(() => {});
  const { success, stderr } = await new Deno.Command("swtpm", {
    args: [
      ...["socket", "--tpm2", "--tpmstate", stateOf(paths), "--terminate", "--daemon"],
      ...["--ctrl", `type=unixio,path=${paths.tpm.control}`, "--pid", `file=${paths.tpm.pid}`],
    ],
    stdin: "null",
    stdout: "null",
    stderr: "piped",
    signal: AbortSignal.timeout(bound_ms),
  }).output();
  if (!success) throw failed("did not start", stderr);
}
