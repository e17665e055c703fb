import assert from "node:assert/strict";
import { FaultyDisk } from "../disk/faulty_disk.ts";
import { realDisk } from "../disk/real_disk.ts";
import { testStore } from "../test_store.ts";
import type { BlobDirectory } from "./blob_directory.ts";
import { recordTypes, smallRecord } from "./record.ts";
import { scanSegment } from "./segment_scan.ts";
import { Untold } from "./untold.ts";

async function refusedIn(directory: BlobDirectory): Promise<number[]> {
  const found: number[] = [];
  for (const segment of await directory.segments()) {
    for await (const { header } of scanSegment(directory, segment)) {
      if (header.type === recordTypes.refused) found.push(header.sequence);
    }
  }
  return found;
}

Deno.test("what the index does not take while a directory is being told is told next", async () => {
  const disk = new FaultyDisk(realDisk);
  await using test = await testStore(1, 0, { disk });
  const { index, progress, directories: { all: [directory] } } = test.store;
  assert.ok(directory !== undefined);
  const untold = new Untold(index, () => [directory.number]);
  const refusal = (sequence: number) =>
    smallRecord(recordTypes.refused, sequence, { revisions: [sequence] });
  index.beforeCommit(() => {
    throw new Error("the disk of the index is full");
  });
  untold.note([directory.number], refusal(1), false);
  const answer = Promise.withResolvers<void>();
  const fault = { path: directory.path, hung: answer.promise };
  disk.faults.add(fault);
  const telling = untold.tell(directory);
  // It is being written.
  await new Promise((next) => setTimeout(next, 0));
  untold.note([directory.number], refusal(2), false);
  disk.faults.delete(fault);
  answer.resolve();
  await telling;
  await untold.tell(directory);
  assert.deepEqual(await refusedIn(directory), [1, 2]);
  index.beforeCommit(() => progress.storePositions(false));
});

Deno.test("what waits in memory does not grow for ever either, and what no directory has heard stays listed", async () => {
  await using test = await testStore(1, 1);
  const { index, progress, directories: { all: [away] } } = test.store;
  assert.ok(away !== undefined);
  const untold = new Untold(index, () => [0, 1], 10);
  index.beforeCommit(() => {
    throw new Error("the disk of the index is full");
  });
  for (let sequence = 1; sequence <= 30; sequence++) {
    const record = smallRecord(recordTypes.refused, sequence, { revisions: [sequence] });
    untold.note([0], record, sequence !== 3);
  }
  index.beforeCommit(() => progress.storePositions(false));
  await untold.tell(away);
  assert.deepEqual(untold.behind(0), { since: 1, next: 2 });
  const told = await refusedIn(away);
  assert.ok(told.includes(3) && told.length <= 11, `${told}`);
});
