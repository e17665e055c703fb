/** A guest whose volume has no room for its writes waits; virtio has no other word than a broken disk. */
import assert from "node:assert/strict";
import { type BareEngine, startBare } from "./bare_engine.ts";
import { disk, FrontEndClient, Guest, waitReadable } from "./vhost_client.ts";

const mebibyte = 1 << 20;
const piece = 256 << 10;
const pieces = 150 * mebibyte / piece;

Deno.test("a guest's writes wait while there is no space, through an engine's end, and are done when there is", async () => {
  const directory = await Deno.makeTempDir({ prefix: "mulga-full-", dir: "/var/tmp" });
  const options = {
    directory,
    socket: `${directory}/nbd`,
    vhostSocket: `${directory}/vhost`,
    sizeBytes: 160 * mebibyte,
    segmentBudget: 4,
    spacePatienceMs: 300,
  };
  await Deno.writeTextFile(`${directory}/objects.down`, "");
  const guest = new Guest(2);
  let engine: BareEngine | undefined;
  let front: FrontEndClient | undefined;
  try {
    engine = await startBare({ ...options, epoch: 1 });
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
        waitReadable(guest.calls[1] as number, 400);
        reap();
        still = guest.used[0] === before ? still + 1 : 0;
        assert.ok(asked < pieces, "everything has found room");
      }
    };
    stuck();
    assert.ok(guest.underWay > 0);
    const zeroing = guest.start(1, { type: disk.writeZeroes, sector: 1, length: 8 });
    front.close();
    await engine.kill();
    engine = await startBare({ ...options, epoch: 2 });
    front = FrontEndClient.connect(options.vhostSocket);
    front.serve(guest);
    stuck();
    assert.deepEqual(guest.reap(1), [], "it waits for the next engine, too");
    await Deno.remove(`${directory}/objects.down`);
    const limit = performance.now() + 60_000;
    while (asked < pieces || guest.underWay > 0) {
      assert.ok(performance.now() < limit, "writes do not go on by themselves");
      ask();
      waitReadable(guest.calls[0] as number, 20);
      reap();
      for (const { slot, status } of guest.reap(1)) {
        assert.deepEqual([slot, status], [zeroing, 0]);
      }
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
    await Deno.remove(directory, { recursive: true });
  }
});
