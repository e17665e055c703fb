/** A volume whose log was damaged, through the service: served for reading, reported, set aside, deleted. */
import assert from "node:assert/strict";
import { Buffer } from "node:buffer";
import { join } from "node:path";
import {
  checkVolume,
  createSnapshot,
  createVolume,
  deleteVolume,
  describeVolume,
  mountVolume,
  resizeVolume,
  unmountVolume,
  volumeMetrics,
} from "../../services/viperblock/contract.ts";
import { blockBytes } from "../../services/viperblock/format.ts";
import { untilWorks } from "../kit/until.ts";
import { hive, qemuIo, refusal, run, startEngine } from "./engine.ts";
import { batches, flipBit } from "./log_batches.ts";

const size_bytes = 64 << 20;

Deno.test("a damaged volume is served for reading, says so everywhere, and goes when it is deleted", async () => {
  await using engine = await startEngine();
  const volume_id = "vol-damaged";
  const directory = join(engine.node.paths.service("viperblock"), "volumes", volume_id);
  await engine.ask(createVolume, { volume_id, size_bytes });
  await engine.ask(createVolume, { volume_id: "vol-whole", size_bytes });
  await engine.ask(mountVolume, { volume_id });
  await engine.ask(mountVolume, { volume_id: "vol-whole" });
  await qemuIo(engine.uri(volume_id), "write -P 7 0 64k", "flush");
  await qemuIo(engine.uri(volume_id), "write -P 8 1M 64k", "flush");
  const flushedAfter = (sequence: number) =>
    untilWorks("the log's word for its last flush", async () => {
      const found = await batches(directory, volume_id);
      const last = found.at(-1)?.header;
      return last?.dataCount === 0 && last.sequence > sequence + 1 ? found : undefined;
    });
  const log = await flushedAfter(1);
  await engine.kill();
  const { path, header } = log.find(({ header }) => header.dataCount > 0)!;
  await flipBit(path, (header.position + 1 + 5) * blockBytes);
  await engine.start();

  await qemuIo(engine.uri("vol-whole"), "write -P 3 0 64k");
  const read = (...commands: readonly string[]) =>
    run("qemu-io", [
      "-r",
      "-f",
      "raw",
      ...commands.flatMap((command) => ["-c", command]),
      engine.uri(volume_id),
    ]);
  const said = await read(
    "read -P 7 0 20k",
    "read -P 7 24k 40k",
    "read -P 8 1M 64k",
    "read -P 0 2M 1M",
  );
  assert.doesNotMatch(said, /failed/);
  await assert.rejects(read("read 20k 4k"), /Input\/output error/);
  assert.match(await run("nbdinfo", [engine.uri(volume_id)]), /is_read_only: true/);

  // What is whole of it is had back by this, the damaged block as zeros.
  const saved = await Deno.makeTempFile({ prefix: "mulga-saved-" });
  try {
    const salvage = ["convert", "--salvage", "-f", "raw", "-O", "raw"];
    await run("qemu-img", [...salvage, engine.uri(volume_id), saved]);
    const content = await Deno.readFile(saved);
    assert.equal(content.length, size_bytes);
    const expected = new Uint8Array(size_bytes);
    expected.fill(7, 0, 64 << 10).fill(8, 1 << 20, (1 << 20) + (64 << 10));
    expected.fill(0, 5 * blockBytes, 6 * blockBytes);
    assert.equal(Buffer.compare(content, expected), 0);
  } finally {
    await Deno.remove(saved);
  }

  const { damage } = await engine.ask(describeVolume, { volume_id });
  assert.match(damage ?? "", /is damaged: batch \d+ cannot be read/);
  const report = await engine.ask(checkVolume, { id: volume_id });
  assert.deepEqual([report.is_sound, report.damaged_blocks], [false, 1]);
  assert.deepEqual(
    report.damage.filter(({ block }) => block !== undefined).map((one) => one.block),
    [5],
  );
  const told = await hive(engine, "volume", "fsck", volume_id).catch((error) => String(error));
  assert.match(told, /1 blocks? (is|are) damaged/);
  assert.match(told, /it can only be read/);
  assert.match(told, /block 5: /);
  const metrics = await engine.ask(volumeMetrics, { volume_id });
  assert.deepEqual([metrics.read_only, metrics.damaged_blocks], [1, 1]);

  const snapshot = { volume_id, snapshot_id: "snap-damaged" };
  assert.equal(await refusal(engine.ask(createSnapshot, snapshot)), "IncorrectState");
  const larger = { volume_id, size_bytes: size_bytes * 2 };
  assert.equal(await refusal(engine.ask(resizeVolume, larger)), "IncorrectState");
  assert.equal(await refusal(engine.ask(deleteVolume, { volume_id })), "VolumeInUse");

  // Unmounted, its log stays where it is, and with what is mended it is whole again.
  await engine.ask(unmountVolume, { volume_id });
  await engine.ask(unmountVolume, { volume_id });
  await flipBit(path, (header.position + 1 + 5) * blockBytes);
  await engine.ask(mountVolume, { volume_id });
  assert.equal((await engine.ask(describeVolume, { volume_id })).damage, undefined);
  await qemuIo(engine.uri(volume_id), "read -P 7 0 64k", "write -P 9 0 4k", "flush");
  assert.equal((await engine.ask(checkVolume, { id: volume_id })).is_sound, true);

  // What the check's checkpoint contains is not read again at an opening; what came after it is.
  const before = (await batches(directory, volume_id)).at(-1)!.header.sequence;
  await qemuIo(engine.uri(volume_id), "write -P 9 0 64k", "flush");
  const newer = (await flushedAfter(before)).findLast(({ header }) => header.dataCount > 0)!;
  await engine.kill();
  await flipBit(newer.path, (newer.header.position + 1) * blockBytes);
  await engine.start();
  assert.ok((await engine.ask(describeVolume, { volume_id })).damage !== undefined);
  await engine.ask(unmountVolume, { volume_id });
  await engine.stop();
  await engine.start();
  assert.equal(
    await refusal(engine.ask(volumeMetrics, { volume_id })),
    "IncorrectState",
    "set aside",
  );
  await engine.ask(deleteVolume, { volume_id });
  await assert.rejects(Deno.stat(directory), Deno.errors.NotFound);
});
