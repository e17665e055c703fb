/** Encrypted snapshots that are written from outside through any node: what is stored is sealed by the key that all know. */
import assert from "node:assert/strict";
import { directBlockBytes } from "../../services/viperblock/contract.ts";
import { startLateWorld } from "./late_world.ts";

const size_bytes = directBlockBytes;

Deno.test("what another node writes of an encrypted snapshot is sealed, though its copy of the table has no key of it yet", async () => {
  await using world = await startLateWorld();
  const direct = world.process();
  await direct.open({ snapshot_id: "snap-1", size_bytes, encrypted: true });
  const other = await world.elsewhere();
  const written = new Uint8Array(directBlockBytes).fill(0x55);
  await other.write("snap-1", 0, written);
  const stored = [...world.late.objects].filter(([key]) => key.startsWith("chunks/"));
  assert.equal(stored.length, 1);
  for (const [key, bytes] of stored) {
    assert.ok(!bytes.toHex().includes("55".repeat(64)), `${key} is sealed`);
  }
  await direct.seal({ snapshot_id: "snap-1" });
  assert.deepEqual(await direct.read("snap-1", 0), written);
});
