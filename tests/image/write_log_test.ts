/** The disks that a recorded run may leave when its power is cut, against writes that are known. */
import assert from "node:assert/strict";
import { join } from "node:path";
import { Random } from "../kit/random.ts";
import { host } from "./machine.ts";
import { makeWriteLog, WriteLog } from "./write_log.ts";

const block = 4096;

/** A log of writes of whole blocks, each filled with its own number, and the disk before it. */
async function record(directory: string, commands: readonly string[]) {
  const [disk, log, base] = ["disk.qcow2", "log", "base.raw"].map((name) => join(directory, name));
  await host("truncate", "--size", "1M", base ?? "");
  await host("qemu-img", "create", "-q", "-f", "qcow2", disk ?? "", "1M");
  await makeWriteLog(log ?? "");
  await host(
    "qemu-io",
    ...commands.flatMap((command) => ["-c", command]),
    "--image-opts",
    `driver=blklogwrites,file.driver=qcow2,file.file.driver=file,file.file.filename=${disk},` +
      `log.driver=file,log.filename=${log},log-sector-size=512`,
  );
  return { base: base ?? "", log: await WriteLog.open(log ?? "") };
}

/** What is in the first bytes of each block. */
async function blocks(disk: string, count: number): Promise<number[]> {
  const bytes = await Deno.readFile(disk);
  return Array.from({ length: count }, (_, at) => bytes[at * block] ?? -1);
}

const write = (number: number) => `write -q -P ${number} ${number * block} ${block}`;

Deno.test("a cut leaves all that was flushed, any part of what was not, and nothing of later", async () => {
  const directory = await Deno.makeTempDir({ prefix: "mulga-write-log-" });
  try {
    const numbers = Array.from({ length: 20 }, (_, at) => at + 1);
    // qemu-io flushes at times of its own, too.
    const { base, log } = await record(
      directory,
      numbers.flatMap((number) => number % 7 === 0 ? [write(number), "flush"] : [write(number)]),
    );
    const disk = join(directory, "cut.raw");
    const outcomes = new Map<number, Set<boolean>>();
    for (let moment = 1; moment <= log.entries.length; moment++) {
      for (let seed = 0; seed < 12; seed++) {
        await Deno.copyFile(base, disk);
        await log.cut(disk, moment, new Random(seed * 1_000 + moment));
        const found = await blocks(disk, numbers.length + 1);
        const flushed = log.entries.slice(0, moment).findLastIndex(({ flush }) => flush);
        for (const number of numbers) {
          const at = log.entries.findIndex(({ offset, bytes }) =>
            bytes > 0 && offset === number * block
          );
          const there = found[number] === number;
          if (at < flushed) assert.ok(there, `${number} at ${moment}`);
          else if (at >= moment) assert.equal(found[number], 0, `${number} at ${moment}`);
          else outcomes.set(at, (outcomes.get(at) ?? new Set()).add(there));
        }
      }
    }
    const open = [...outcomes.values()].filter(({ size }) => size === 2).length;
    assert.ok(open > 10, `only ${open} writes came in one case and were lost in another`);
  } finally {
    await Deno.remove(directory, { recursive: true });
  }
});

Deno.test("the last write may be torn, and moments are those between two marks", async () => {
  const directory = await Deno.makeTempDir({ prefix: "mulga-write-log-" });
  try {
    const { base, log } = await record(directory, [
      write(1),
      write(2),
      "flush",
      write(3),
      write(4),
    ]);
    const sectors = new Set<number>();
    for (let seed = 0; seed < 60; seed++) {
      const random = new Random(seed);
      const moment = log.moment(random, 1, 3);
      assert.ok(moment === 2 || moment === 3, String(moment));
      const disk = join(directory, "cut.raw");
      await Deno.copyFile(base, disk);
      await log.cut(disk, 1, random);
      const bytes = (await Deno.readFile(disk)).subarray(block, 2 * block);
      const whole = bytes.findIndex((byte) => byte !== 1);
      sectors.add(whole < 0 ? 8 : whole / 512);
    }
    assert.deepEqual([...sectors].sort(), [0, 1, 2, 3, 4, 5, 6, 7, 8]);
  } finally {
    await Deno.remove(directory, { recursive: true });
  }
});
