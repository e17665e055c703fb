/** What a volume may not give up by itself, by what the rows say. */
import assert from "node:assert/strict";
import { frozenMapKey, mapKey, type SavedMap } from "../maps/map_objects.ts";
import type { SnapshotRow, VolumeRow } from "../records.ts";
import { sharedEpoch } from "./shared_chunks.ts";

const volume = (volume_id: string, epoch: number, map?: SavedMap): VolumeRow => ({
  volume_id,
  size_bytes: 4096,
  epoch,
  state: "ok",
  ...(map === undefined ? {} : { map }),
});

const map = (key: string, epoch: number, ...owners: string[]): SavedMap => ({
  key,
  parts: 1,
  epoch,
  mapped_blocks: 1,
  owners,
});

const snapshot = (rest: Partial<SnapshotRow>): SnapshotRow => ({
  snapshot_id: "snap-a",
  size_bytes: 4096,
  state: "ok",
  ...rest,
});

const rows = (volumes: VolumeRow[], snapshots: SnapshotRow[]) => ({
  volumes: { list: () => volumes.map((value) => ({ value })) },
  snapshots: { list: () => snapshots.map((value) => ({ value })) },
});

const frozen = map(frozenMapKey("vol-a", 3, 1), 3, "vol-a");
const parent = volume("vol-a", 7, map(mapKey("vol-a", 2), 2, "vol-a"));

Deno.test("what nobody else names is a volume's own, its saved map's chunks apart", () => {
  assert.equal(sharedEpoch(parent, rows([parent, volume("vol-b", 9)], [])), 0);
});

Deno.test("a snapshot keeps chunks up to the epoch that froze it, and its clones do when it is gone", () => {
  assert.equal(sharedEpoch(parent, rows([parent], [snapshot({ map: frozen })])), 3);
  assert.equal(sharedEpoch(parent, rows([parent, volume("vol-b", 0, frozen)], [])), 3);
});

Deno.test("what a clone saved, or a snapshot of it names, may be any of its parent's chunks", () => {
  const saved = map(mapKey("vol-b", 1), 1, "vol-a", "vol-b");
  assert.equal(sharedEpoch(parent, rows([parent, volume("vol-b", 1, saved)], [])), 7);
  assert.equal(sharedEpoch(parent, rows([parent], [snapshot({ map: saved })])), 7);
  const other = map(mapKey("vol-b", 1), 1, "vol-b");
  assert.equal(sharedEpoch(parent, rows([parent, volume("vol-b", 1, other)], [])), 0);
});

Deno.test("a snapshot that is not stored yet may name all that there is", () => {
  const pending = snapshot({ state: "pending", volume_id: "vol-a", epoch: 7, owners: [] });
  assert.equal(sharedEpoch(parent, rows([parent], [pending])), 7);
  const ofClone = snapshot({ state: "pending", volume_id: "vol-b", epoch: 1, owners: ["vol-a"] });
  assert.equal(sharedEpoch(parent, rows([parent], [ofClone])), 7);
});
