/** `sync` from the outside; what each mode promises in a power cut is the simulation's to show. */
import assert from "node:assert/strict";
import {
  createVolume,
  describeVolume,
  mountVolume,
  volumeSync,
} from "../../services/viperblock/contract.ts";
import { hive, qemuIo, startEngine } from "./engine.ts";

Deno.test("when writes are durable is said at the making, shown, and set while the volume is in use", async () => {
  await using engine = await startEngine();
  const volume_id = "vol-a";
  const sync = (wanted?: "always" | "flush" | "relaxed") =>
    engine.ask(volumeSync, { volume_id, ...(wanted === undefined ? {} : { sync: wanted }) });
  await engine.ask(createVolume, { volume_id, size_bytes: 16 << 20, sync: "always" });
  assert.equal((await engine.ask(describeVolume, { volume_id })).sync, "always");
  await engine.ask(mountVolume, { volume_id });
  await qemuIo(engine.uri(volume_id), "write -P 7 0 64k", "flush");
  assert.deepEqual(await sync(), { volume_id, sync: "always" });
  assert.match(await hive(engine, "volume", "sync", volume_id, "relaxed"), /^vol-a: relaxed/);
  assert.deepEqual(await sync(), { volume_id, sync: "relaxed" });
  await qemuIo(engine.uri(volume_id), "write -P 8 64k 64k", "write -f -P 9 128k 4k", "flush");
  await assert.rejects(sync("sometimes" as "flush"), { code: "InvalidParameterValue" });
  await assert.rejects(engine.ask(volumeSync, { volume_id: "vol-none" }), {
    code: "InvalidVolume.NotFound",
  });
  assert.match(await hive(engine, "volume", "status", volume_id), /flushes: /);
  assert.match(await hive(engine, "volume", "fsck", volume_id), /all is sound/);
  // The end of the process loses nothing in any mode.
  await engine.kill();
  await engine.start();
  assert.deepEqual(await sync(), { volume_id, sync: "relaxed" });
  await qemuIo(
    engine.uri(volume_id),
    "read -P 7 0 64k",
    "read -P 8 64k 64k",
    "read -P 9 128k 4k",
  );
  assert.deepEqual(await sync("flush"), { volume_id, sync: "flush" });
});
