import assert from "node:assert/strict";
import { DiskReads } from "./disk_reads.ts";

/** A client that keeps `depth` reads under way, and a disk that gives back `atOnce` of what it has, each turn. */
function served(depth: number, turns: number, atOnce: (given: number) => number): number[] {
  const disk: number[] = [];
  const begun: number[] = [];
  const reads = new DiskReads(64, (read) => {
    disk.push(read);
    begun.push(read);
  });
  const given: number[] = [];
  let next = 0;
  for (; next < depth; next++) reads.start(next);
  for (let turn = 0; turn < turns; turn++) {
    reads.advance();
    given.push(disk.length);
    const answered = disk.splice(0, atOnce(disk.length));
    for (const _ of answered) reads.ended();
    for (const _ of answered) reads.start(next++);
  }
  assert.deepEqual(begun, begun.toSorted((a, b) => a - b), "first come, first served");
  assert.ok(given.every((count) => count > 0), "the disk has something to do");
  return given;
}

Deno.test("a disk that answers all at once gets one half while the other is answered", () => {
  const given = served(32, 20, (all) => all);
  assert.equal(given[0], 32);
  assert.deepEqual(given.slice(2), Array(18).fill(16));
});

Deno.test("a disk that answers one by one gets all that there is", () => {
  assert.deepEqual(served(32, 20, () => 1), Array(20).fill(32));
});

Deno.test("a disk that answers one by one again gets all again", () => {
  let turn = 0;
  const given = served(32, 40, (all) => turn++ < 5 ? all : 1);
  assert.equal(given[5], 16);
  assert.equal(given.at(-1), 32);
});

Deno.test("a few reads are never held back", () => {
  assert.deepEqual(served(8, 10, (all) => all), Array(10).fill(8));
});

Deno.test("what is held back goes out when the client has nothing more to ask", () => {
  const disk: number[] = [];
  const reads = new DiskReads(64, (read) => disk.push(read));
  for (let read = 0; read < 32; read++) reads.start(read);
  reads.advance();
  for (let read = 0; read < 32; read++) reads.ended();
  for (let read = 32; read < 64; read++) reads.start(read);
  reads.advance();
  let done = 32;
  while (done < 64) {
    assert.ok(disk.length > done, "something is at the disk while something waits");
    for (const begun = disk.length; done < begun; done++) reads.ended();
    reads.advance();
  }
  assert.equal(disk.length, 64);
});

/** A client that asks for `count` at once, and the disk that it asks. */
function asked(count: number) {
  const disk: number[] = [];
  const reads = new DiskReads(64, (read) => disk.push(read));
  let next = 0;
  return {
    disk,
    reads,
    begin(some = count) {
      for (let i = 0; i < some; i++) reads.start(next++);
      reads.advance();
    },
    end(some: number) {
      for (let i = 0; i < some; i++) reads.ended();
      reads.advance();
    },
  };
}

Deno.test("for a client that waits for all that it asked for, all are waited for together", () => {
  const { disk, reads, begin, end } = asked(32);
  for (let time = 0; time < 4; time++) {
    begin();
    assert.equal(reads.awaited, 1, "that may be chance");
    end(12);
    end(20);
  }
  begin();
  assert.equal(reads.awaited, 32);
  end(12);
  assert.equal(reads.awaited, 20, "it waits for the rest");
  end(20);
  assert.equal(reads.awaited, 1, "nothing is at the disk");
  begin();
  assert.equal(
    disk.length,
    32 * 6,
    "that they came back together was of our waiting, so the disk gets all",
  );
  end(10);
  begin(10);
  assert.equal(reads.awaited, 1, "it goes on with what it has got");
  end(32);
  begin();
  assert.equal(reads.awaited, 1);
});

Deno.test("that a client waits for all is not believed for ever of one whose reads all come back together", () => {
  const { reads, begin, end } = asked(32);
  for (let time = 0; time < 4; time++) {
    begin();
    end(1);
    end(31);
  }
  let together = 0;
  for (begin(); reads.awaited > 1; begin()) {
    end(32);
    assert.ok(++together < 1000);
  }
  assert.ok(together > 10);
});

Deno.test("a few reads are not waited for together", () => {
  const { reads, begin, end } = asked(7);
  for (let turn = 0; turn < 10; turn++) {
    begin();
    assert.equal(reads.awaited, 1);
    end(3);
    end(4);
  }
});
