/**
 * kill -9 of the engine while it makes its log files ready, which it does once it is written to. What is
 * half made must never be taken for a log: the kernel refuses to read beside a write of zeros that was cut off.
 */
import assert from "node:assert/strict";
import { logFilePattern, segmentBytes } from "../../services/viperblock/format.ts";
import { until } from "../kit/until.ts";
import { type BareEngine, startBare } from "./bare_engine.ts";
import { qemuIo } from "./engine.ts";

const rounds = 8;

/** The sizes of what is a log file, or becomes one. */
function logSizes(directory: string): Map<string, number> {
  const names = Array.from(Deno.readDirSync(directory), ({ name }) => name);
  const found = new Map<string, number>();
  for (const name of names.filter((name) => name.startsWith("log-"))) {
    try {
      found.set(name, Deno.statSync(`${directory}/${name}`).size);
    } catch (error) {
      // It has got its name meanwhile.
      if (!(error instanceof Deno.errors.NotFound)) throw error;
    }
  }
  return found;
}

Deno.test("kill -9 while a log file is being filled leaves none that is not whole, and the volume opens", async () => {
  const directory = await Deno.makeTempDir({ prefix: "mulga-filling-", dir: "/var/tmp" });
  const log = `${directory}/log`;
  try {
    let cut = 0;
    for (let round = 0; round < rounds; round++) {
      const engine = await startBare({
        directory,
        socket: `${directory}/socket`,
        sizeBytes: 64 << 20,
        epoch: round + 1,
      });
      // The first two files are only set aside; after that one is filled after the other.
      const uri = `nbd+unix:///vol-bare?socket=${directory}/socket`;
      const written = qemuIo(uri, "write 0 4M", "write 4M 4M").catch(() => {});
      const isBeingFilled = () => {
        const sizes = [...logSizes(log).values()];
        return sizes.some((size) => 0 < size && size < segmentBytes) || sizes.length > 3;
      };
      await until("a log file is being filled", isBeingFilled);
      await engine.kill();
      await written;
      for (const [name, size] of logSizes(log)) {
        if (logFilePattern.test(name)) assert.equal(size, segmentBytes, `${name} is half made`);
        else if (size < segmentBytes) cut++;
      }
    }
    assert.ok(cut > 0, `in none of ${rounds} rounds was a file being filled`);
  } finally {
    await Deno.remove(directory, { recursive: true });
  }
});

/** Bytes that the process has had from disks so far. */
function readBytes({ process }: BareEngine): number {
  const io = Deno.readTextFileSync(`/proc/${process.pid}/io`);
  return Number(/^read_bytes: (\d+)$/m.exec(io)?.[1]);
}

Deno.test("log files that were filled and not used are not read by the opening after kill -9", async () => {
  const directory = await Deno.makeTempDir({ prefix: "mulga-filled-", dir: "/var/tmp" });
  const start = (epoch: number) =>
    startBare({ directory, socket: `${directory}/socket`, sizeBytes: 64 << 20, epoch });
  try {
    const first = await start(1);
    const uri = `nbd+unix:///vol-bare?socket=${directory}/socket`;
    await qemuIo(uri, "write -P 7 0 8M");
    // Two that are only set aside, and those that are written with zeros.
    const filled = await until("files are filled", () => {
      const names = [...logSizes(`${directory}/log`).keys()];
      const count = names.filter((name) => logFilePattern.test(name)).length - 2;
      return count > 0 && names.every((name) => logFilePattern.test(name)) && count;
    });
    await first.kill();
    const second = await start(2);
    const read = readBytes(second);
    await qemuIo(uri, "read -P 7 0 8M");
    await second.kill();
    const unread = filled * segmentBytes;
    assert.ok(read < unread / 2, `${read} bytes read, where ${unread} were filled with zeros`);
  } finally {
    await Deno.remove(directory, { recursive: true });
  }
});
