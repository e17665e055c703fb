/** A guest whose volume has no room for its writes waits; virtio has no other word than a broken disk. */
import assert from "node:assert/strict";
import { createEvent } from "../../ffi/libc.ts";
import { type BareEngine, startBare } from "./bare_engine.ts";
import { disk, FrontEndClient, Guest, waitReadable } from "./vhost_client.ts";

const mebibyte = 1 << 20;
const piece = 256 << 10;
/** More than the log of an engine and that of the next have room for. */
const pieces = 240 * mebibyte / piece;
/** Nobody tells it anything: who waits for it waits for time to pass. */
const silent = createEvent();

/** A volume that fills its log soon, since the store is away. */
async function optionsOfFull() {
  const directory = await Deno.makeTempDir({ prefix: "mulga-full-", dir: "/var/tmp" });
  await Deno.writeTextFile(`${directory}/objects.down`, "");
  return {
    directory,
    socket: `${directory}/nbd`,
    vhostSocket: `${directory}/vhost`,
    sizeBytes: 256 * mebibyte,
    segmentBudget: 4,
    spacePatienceMs: 300,
    epoch: 1,
  };
}

Deno.test("a guest's writes wait while there is no space, through an engine's end, and are done when there is", async () => {
  const options = await optionsOfFull();
  const guest = new Guest(2);
  let engine: BareEngine | undefined;
  let front: FrontEndClient | undefined;
  try {
    engine = await startBare(options);
    front = FrontEndClient.connect(options.vhostSocket);
    front.serve(guest);
    let asked = 0;
    const ask = () => {
      while (asked < pieces && (guest.free[0]?.length ?? 0) > 40) {
        const data = new Uint8Array(piece).fill(1 + asked % 255);
        guest.prepare(0, { type: disk.out, sector: asked++ * piece / 512, data });
      }
      // Zeroes of parts of blocks are refused at once where there is no space.
      guest.publish(0);
      guest.kick(0);
    };
    const reap = () => {
      for (const { status } of guest.reap(0)) assert.equal(status, 0, "no write has failed");
    };
    /** Until nothing moves for three times the engine's own patience. */
    const stuck = () => {
      for (let still = 0; still < 3;) {
        const before = guest.used[0];
        ask();
        waitReadable(silent, 400);
        reap();
        still = guest.used[0] === before ? still + 1 : 0;
        assert.ok(asked < pieces, "everything has found room");
      }
    };
    stuck();
    assert.ok(guest.underWay > 0);
    const zero = () => guest.start(1, { type: disk.writeZeroes, sector: 1, length: 8 });
    zero();
    front.close();
    await engine.kill();
    engine = await startBare({ ...options, epoch: 2 });
    front = FrontEndClient.connect(options.vhostSocket);
    front.serve(guest);
    stuck();
    // The next engine has begun another file of the log.
    for (const { status } of guest.reap(1)) assert.equal(status, 0);
    zero();
    waitReadable(silent, 400);
    assert.deepEqual(guest.reap(1), [], "it waits for this one, too");
    await Deno.remove(`${options.directory}/objects.down`);
    const limit = performance.now() + 60_000;
    while (asked < pieces || guest.underWay > 0) {
      assert.ok(performance.now() < limit, "writes do not go on by themselves");
      ask();
      waitReadable(guest.calls[0] as number, 20);
      reap();
      for (const { status } of guest.reap(1)) assert.equal(status, 0);
      await new Promise((resolve) => setTimeout(resolve, 0));
    }
    for (let i = 1; i < pieces; i++) {
      const back = await guest.run(0, { type: disk.in, sector: i * piece / 512, length: piece });
      assert.ok(back.data.every((byte) => byte === 1 + i % 255), `piece ${i}`);
    }
  } finally {
    front?.close();
    await engine?.kill();
    guest.release();
    await Deno.remove(options.directory, { recursive: true });
  }
});

Deno.test("what waits for space when a queue is taken back, and nobody keeps in mind what is in flight, is answered", async () => {
  const options = await optionsOfFull();
  const guest = new Guest(2);
  let engine: BareEngine | undefined;
  let front: FrontEndClient | undefined;
  try {
    engine = await startBare(options);
    front = FrontEndClient.connect(options.vhostSocket);
    front.features();
    front.memory(guest);
    for (let queue = 0; queue < guest.queues; queue++) front.queue(guest, queue);
    // Until writes wait for longer than the engine's own patience.
    for (let asked = 0, still = 0; still < 3;) {
      const before = guest.used[0];
      while (asked < pieces && (guest.free[0]?.length ?? 0) > 40) {
        const data = new Uint8Array(piece).fill(1);
        guest.prepare(0, { type: disk.out, sector: asked++ * piece / 512, data });
      }
      guest.publish(0);
      guest.kick(0);
      waitReadable(silent, 400);
      guest.reap(0);
      still = guest.used[0] === before ? still + 1 : 0;
    }
    const waiting = guest.start(1, { type: disk.writeZeroes, sector: 1, length: 8 });
    const read = await guest.run(1, { type: disk.in, sector: 0, length: 4096 });
    assert.equal(read.status, 0, "only what needs space waits");
    assert.deepEqual(guest.reap(1), []);
    assert.equal(front.stop(1), 2, "both were taken");
    const answered = guest.reap(1).map(({ slot, status }) => [slot, status]);
    assert.deepEqual(answered, [[waiting, 1]]);
  } finally {
    front?.close();
    await engine?.kill();
    guest.release();
    await Deno.remove(options.directory, { recursive: true });
  }
});
