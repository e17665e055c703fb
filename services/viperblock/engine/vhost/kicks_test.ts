import assert from "node:assert/strict";
import { closeFile, createEvent, mapMemory, signalEvent, unmap } from "../../../../ffi/libc.ts";
import { Ring, ringOperations } from "../../../../ffi/liburing.ts";
import { neverWait } from "../../../../ffi/passed_memory.ts";
import type { Completion, RequestQueue } from "../../machine/machine.ts";
import { kickBytes, Kicks } from "./kicks.ts";

/** The ring of a kernel on which a read of an event that is not to be waited for fails until it was polled. */
function impatient(ring: Ring): RequestQueue {
  const handlers = new Map<number, Completion>();
  const failed: (() => void)[] = [];
  const polled = new Set<number>();
  return {
    kind(handler) {
      const kind = ring.kind(handler);
      handlers.set(kind, handler);
      return kind;
    },
    queue(operation, fd, offset, address, length, flags, kind, id) {
      if (operation === ringOperations.poll) polled.add(fd);
      if (operation === ringOperations.read && !polled.delete(fd)) {
        failed.push(() => handlers.get(kind)?.(id, -11, 0));
      } else ring.queue(operation, fd, offset, address, length, flags, kind, id);
    },
    turn(wait) {
      const now = failed.splice(0);
      for (const fail of now) fail();
      ring.turn(now.length > 0 ? 0 : wait);
    },
    close: () => ring.close(),
  };
}

/** As QEMU passes it. */
function guestEvent(): number {
  const fd = createEvent();
  neverWait(fd);
  return fd;
}

const kernels = { "one that waits": (ring: Ring) => ring, "one that does not": impatient };

for (const [kernel, queueOf] of Object.entries(kernels)) {
  Deno.test(`kicks are heard in a place where others were waited for before, by a kernel: ${kernel}`, () => {
    const memory = mapMemory(kickBytes);
    const ring = queueOf(new Ring(64));
    const kicks = new Kicks(ring, memory, 0);
    // What waits in the ring has had its turn, and what that asked for has too.
    const settle = () => {
      for (let turn = 0; turn < 10; turn++) ring.turn(0);
    };
    const [first, second] = [guestEvent(), guestEvent()];
    const place = kicks.watch(first);
    settle();
    kicks.unwatch(place);
    settle();
    assert.ok(kicks.idle);
    assert.equal(kicks.watch(second), place);
    settle();
    assert.ok(!kicks.idle, "somebody waits for kicks");
    for (let kick = 1; kick <= 3; kick++) {
      signalEvent(second);
      ring.turn(1);
      settle();
      assert.ok(!kicks.idle, `somebody waits for kicks after ${kick}`);
    }
    kicks.unwatch(place);
    settle();
    ring.close();
    for (const fd of [first, second]) closeFile(fd);
    unmap(memory);
  });
}
