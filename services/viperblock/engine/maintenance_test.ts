import assert from "node:assert/strict";
import { BlockMap } from "../maps/block_map.ts";
import { standardGeometry } from "../format.ts";
import { simulatedMachine } from "../machine/simulated.ts";
import { SimulatedDisk } from "../machine/simulated_disk.ts";
import { World } from "../machine/simulated_world.ts";
import type { FromWorker } from "../mounts/mailbox.ts";
import type { Checkpointer } from "./checkpoint.ts";
import type { Drainer } from "./drainer.ts";
import { LogWriter } from "./log_writer.ts";
import { Maintenance } from "./maintenance.ts";
import { Places } from "./places.ts";

Deno.test("a segment that is freed twice while somebody reads it gives its file back once", () => {
  const world = new World({ next: () => 0, below: () => 0 });
  const disk = new SimulatedDisk(world, "/volume", 1 << 20);
  const machine = simulatedMachine(world, disk);
  const places = new Places(new BlockMap(100));
  const log = new LogWriter(machine, places, {
    volumeId: "vol-1",
    epoch: 1,
    geometry: { ...standardGeometry, batchBlocks: 4 },
    nextSegment: 2,
    nextSequence: 1,
    committed: () => {},
    flushed: () => {},
  });
  const maintenance = new Maintenance({
    machine,
    places,
    log,
    drainer: {} as Drainer,
    checkpointer: {} as Checkpointer,
    segmentBudget: 32,
    spacePatienceMs: 1000,
    post: () => {},
  });
  const segment = places.addSegment(1, { path: "log-1.seg", fd: 9 }, 1, 1);
  segment.sealed = true;
  segment.readers = 1;
  // A reader holds it through two checkpoints, and a third began before the file was given back.
  maintenance.retire([segment]);
  maintenance.retire([segment]);
  assert.equal(log.spares.length, 0);
  segment.readers = 0;
  maintenance.retire([]);
  maintenance.retire([segment]);
  assert.deepEqual(log.spares, [{ path: "log-1.seg", fd: 9 }]);
  machine.releaseAll();
});

Deno.test("a file that an earlier process wrote to is removed and not used again", () => {
  const world = new World({ next: () => 0, below: () => 0 });
  const machine = simulatedMachine(world, new SimulatedDisk(world, "/volume", 1 << 20));
  const places = new Places(new BlockMap(100));
  const log = new LogWriter(machine, places, {
    volumeId: "vol-1",
    epoch: 2,
    geometry: { ...standardGeometry, batchBlocks: 4 },
    nextSegment: 3,
    nextSequence: 1,
    committed: () => {},
    flushed: () => {},
  });
  const told: FromWorker[] = [];
  const maintenance = new Maintenance({
    machine,
    places,
    log,
    drainer: {} as Drainer,
    checkpointer: {} as Checkpointer,
    segmentBudget: 32,
    spacePatienceMs: 1000,
    post: (message) => told.push(message),
  });
  const mine = places.addSegment(2, { path: "log-2.seg", fd: 8 }, 1, 1);
  const inherited = places.addSegment(1, { path: "log-1.seg", fd: 9 }, 1, 1);
  inherited.inherited = true;
  maintenance.retire([mine, inherited]);
  assert.deepEqual(log.spares, [{ path: "log-2.seg", fd: 8 }]);
  assert.deepEqual(told, [{ kind: "drop_file", path: "log-1.seg" }]);
  machine.releaseAll();
});

Deno.test("a checkpoint is taken before the log has grown by more than an opening may have to read again", () => {
  const world = new World({ next: () => 0, below: () => 0 });
  let now_ms = 0;
  const simulated = simulatedMachine(world, new SimulatedDisk(world, "/volume", 1 << 20));
  const machine = { ...simulated, now: () => now_ms };
  const map = new BlockMap(1 << 20);
  const places = new Places(map);
  const log = new LogWriter(machine, places, {
    volumeId: "vol-1",
    epoch: 1,
    geometry: { ...standardGeometry, batchBlocks: 4 },
    nextSegment: 1,
    nextSequence: 1,
    committed: () => {},
    flushed: () => {},
  });
  // What was replayed counts too.
  const replayed = 40 << 20;
  let taken = 0;
  const checkpointer = {
    running: false,
    lastAtBytes: -replayed,
    start: () => taken++,
  } as unknown as Checkpointer;
  const maintenance = new Maintenance({
    machine,
    places,
    log,
    drainer: {} as Drainer,
    checkpointer,
    segmentBudget: 32,
    spacePatienceMs: 1000,
    post: () => {},
  });
  const takenAfter = (bytes: number, passed_ms = 1_000) => {
    now_ms += passed_ms;
    log.writtenBytes = bytes;
    taken = 0;
    maintenance.advance(false);
    return taken > 0;
  };
  assert.ok(!takenAfter((64 << 20) - replayed));
  assert.ok(takenAfter((64 << 20) - replayed + 1));
  assert.ok(
    !takenAfter((64 << 20) - replayed + 1, 100),
    "another one at once costs more than it gives",
  );
  // A larger map is written more seldom: of what is written, checkpoints stay a small part.
  for (let block = 0; block < 400_000; block++) places.place(block, 1 << 30, block, 0);
  assert.ok(!takenAfter((256_000_000) - replayed - 1_000_000));
  assert.ok(takenAfter((256_000_000) - replayed + 1_000_000));
  simulated.releaseAll();
});

Deno.test("a writer that is ahead of the making of log files does not have its blocks moved to the object store", () => {
  const world = new World({ next: () => 0, below: () => 0 });
  const simulated = simulatedMachine(world, new SimulatedDisk(world, "/volume", 1 << 20));
  const machine = { ...simulated, now: () => 1 };
  const places = new Places(new BlockMap(100));
  let drained = 0;
  const told: FromWorker[] = [];
  const maintenance = new Maintenance({
    machine,
    places,
    log: { starved: true, spares: [], writtenBytes: 0 } as unknown as LogWriter,
    drainer: { running: false, start: () => drained++ } as unknown as Drainer,
    checkpointer: { running: false, lastAtBytes: 0 } as unknown as Checkpointer,
    segmentBudget: 32,
    spacePatienceMs: 1000,
    post: (message) => told.push(message),
  });
  maintenance.advance(true);
  maintenance.advance(true);
  assert.deepEqual(told, [{ kind: "segment_wanted" }]);
  assert.equal(drained, 0);
  // There is no room for another file: then it is what is in the log that has to go.
  maintenance.segmentRefused();
  maintenance.advance(true);
  assert.equal(drained, 1);
  simulated.releaseAll();
});
