/** A check of a mounted volume reads what only its log holds, and is right while guests write. */
import assert from "node:assert/strict";
import { Buffer } from "node:buffer";
import { join } from "node:path";
import { checkVolume, createVolume, mountVolume } from "../../services/viperblock/contract.ts";
import { blockBytes } from "../../services/viperblock/format.ts";
import { batches, flipBit } from "./log_batches.ts";
import { hive, qemuIo, startEngine } from "./engine.ts";

const mebibyte = 1 << 20;

Deno.test("a check of a mounted volume names exactly what is damaged in its log", async (t) => {
  await using engine = await startEngine();
  for (const isEncrypted of [false, true]) {
    await t.step(isEncrypted ? "encrypted" : "plain", async () => {
      const volume_id = isEncrypted ? "vol-sealed" : "vol-plain";
      const directory = join(engine.node.paths.service("viperblock"), "volumes", volume_id);
      await engine.ask(createVolume, {
        volume_id,
        size_bytes: 64 * mebibyte,
        encrypted: isEncrypted,
      });
      await engine.ask(mountVolume, { volume_id });
      await qemuIo(engine.uri(volume_id), "write -P 0x11 0 4M", "write -P 0x22 8M 64k", "flush");
      const sound = await engine.ask(checkVolume, { id: volume_id });
      assert.deepEqual(
        [sound.is_sound, sound.as_of, sound.log_bytes, sound.damaged_blocks],
        [true, "now", 4 * mebibyte + 65_536, 0],
      );

      // The last batch with data has the last of the blocks: its last one is the sixteenth from 8 MiB on. One
      // that only says what was flushed may follow.
      const found = await batches(directory, volume_id, isEncrypted);
      const last = found.findLast(({ header }) => header.dataCount > 0);
      assert.ok(last !== undefined && last.header.dataCount >= 2);
      const { path, header: { segment, position, dataCount } } = last;
      await flipBit(path, (position + dataCount - 1) * blockBytes + 5);
      await flipBit(path, (position + dataCount) * blockBytes + 5);
      const why = `segment ${segment} of its log does not match its checksum there`;
      const damage = [{ block: 8 * mebibyte / blockBytes + 14, blocks: 2, why }];
      const report = await engine.ask(checkVolume, { id: volume_id });
      assert.deepEqual(report.damage, damage);
      assert.deepEqual([report.is_sound, report.damaged_blocks], [false, 2]);
      // No data is lost with the header that says which segment it is.
      assert.ok(found.length > 1 && position > 0);
      await flipBit(path, 40);
      // The engine may go on behind that.
      const written = async () =>
        (await Deno.readFile(path)).subarray(0, (position + dataCount + 1) * blockBytes);
      const spoilt = await written();
      assert.deepEqual((await engine.ask(checkVolume, { id: volume_id })).damage, damage);
      const told = await hive(engine, "volume", "fsck", volume_id).catch(String);
      const from = 8 * mebibyte + 14 * blockBytes;
      assert.ok(told.includes(`(bytes ${from} to ${from + 2 * blockBytes - 1})`), told);
      // It has changed nothing of what it read.
      assert.ok(Buffer.from(await written()).equals(spoilt));

      // What is written over is not damaged any more.
      await qemuIo(engine.uri(volume_id), "write -P 0x33 8M 64k", "flush");
      assert.equal((await engine.ask(checkVolume, { id: volume_id })).is_sound, true);
    });
  }

  await t.step("a log that is written and drained meanwhile has nothing wrong", async () => {
    const checksWanted = 5;
    let checks = 0;
    let written = 0;
    const writing = (async () => {
      for (let round = 0; checks < checksWanted; round = (round + 1) % 16) {
        const pattern = `0x${(0x40 + round).toString(16)}`;
        await qemuIo(
          engine.uri("vol-plain"),
          `write -P ${pattern} 0 16M`,
          `write -P ${pattern} 16M 16M`,
          `write -P ${pattern} 32M 32M`,
          `read -P ${pattern} 0 32M`,
          "flush",
        );
        written++;
      }
    })();
    try {
      for (; checks < checksWanted; checks++) {
        const report = await engine.ask(checkVolume, { id: "vol-plain" });
        assert.deepEqual([report.damage, report.books, report.is_sound], [[], [], true]);
      }
    } finally {
      checks = checksWanted;
      await writing;
    }
    assert.ok(written > 0);
  });
});
