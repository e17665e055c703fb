import assert from "node:assert/strict";
import type { Memory } from "../../../ffi/libc.ts";
import { chunkContainer } from "../format.ts";
import { BlockMap } from "../maps/block_map.ts";
import type { FromWorker } from "../mounts/mailbox.ts";
import type { Checkpointer } from "./checkpoint.ts";
import { Compactor } from "./compactor.ts";
import type { Drainer } from "./drainer.ts";
import { Places } from "./places.ts";

const minuteMs = 60_000;

Deno.test("a chunk that the store could not give is asked for again later, and others meanwhile", () => {
  const places = new Places(new BlockMap(100));
  for (const sequence of [1, 2]) {
    const number = places.addChunk({ owner: "vol-1", epoch: 1, sequence }, 10);
    places.place(sequence, chunkContainer(number), 0, 7);
    if (sequence === 2) places.place(3, chunkContainer(number), 1, 7);
  }
  const asked: { readonly id: number; readonly key: string }[] = [];
  let now = 0;
  const compactor = new Compactor({
    volumeId: "vol-1",
    snapshotEpoch: 0,
    // One at a time.
    chunkBlocks: 2,
    places,
    drainer: { running: false, take() {}, giveBack() {} } as unknown as Drainer,
    checkpointer: { running: false } as unknown as Checkpointer,
    chunk: {} as Memory,
    window: { address: 0 } as Memory,
    post: (message: FromWorker) => void (message.kind === "fetch" && asked.push(message)),
    now: () => now,
    idlePauseMs: 1,
    damaged: () => assert.fail("nothing was read"),
  });
  /** The keys that are asked for in so many minutes, while the store gives nothing. */
  const within = (minutes: number) => {
    for (const end = now + minutes * minuteMs; now < end; now += 1000) {
      compactor.advance();
      for (const { id } of asked) compactor.fetched(id, false);
    }
    return asked.splice(0).map(({ key }) => key.slice(-1));
  };
  assert.deepEqual(within(5), ["1", "2"]);
  assert.deepEqual(within(20).slice(0, 2), ["1", "2"]);
});
