/**
 * The engine ends and comes back while a guest has requests under way: the guest waits, loses nothing,
 * sees no error, and reads what it wrote. And its disk grows while it is used.
 */
import assert from "node:assert/strict";
import { configChanged } from "../../services/viperblock/engine/vhost/protocol.ts";
import { type Random, seeded } from "../kit/random.ts";
import { type BareEngine, type BareOptions, startBare } from "./bare_engine.ts";
import { disk, FrontEndClient, Guest } from "./vhost_client.ts";

const size = 64 << 20;
const block = 4096;
const blocks = 4096;

async function withOptions(work: (options: BareOptions) => Promise<void>): Promise<void> {
  const directory = await Deno.makeTempDir({ prefix: "mulga-vhost-", dir: "/var/tmp" });
  try {
    await work({
      directory,
      socket: `${directory}/nbd`,
      vhostSocket: `${directory}/vhost`,
      sizeBytes: size,
      epoch: 1,
      cacheBytes: 4 << 20,
      segmentBudget: 6,
    });
  } finally {
    await Deno.remove(directory, { recursive: true });
  }
}

/** A driver that keeps its queue full and knows what every block has to hold. */
class Load {
  readonly stamps = new Uint32Array(blocks);
  readonly #underWay = new Map<string, { first: number; count: number; stamp: number }>();
  readonly #busy = new Set<number>();
  #next = 1;
  finished = 0;

  constructor(readonly guest: Guest, readonly random: Random) {}

  get underWay(): number {
    return this.#underWay.size;
  }

  /** Asks until `depth` requests are under way; none overlaps another. */
  fill(depth: number): void {
    const { guest, random } = this;
    for (let queue = 0; queue < guest.queues; queue++) {
      let asked = false;
      for (let tries = 0; tries < 100 && this.underWay < depth * (queue + 1); tries++) {
        if (guest.free[queue]?.length === 0) break;
        const count = random.pick([1, 1, 2, 8]);
        const first = random.below(blocks - count);
        const taken = Array.from({ length: count }, (_, i) => first + i);
        if (taken.some((each) => this.#busy.has(each))) continue;
        for (const each of taken) this.#busy.add(each);
        const stamp = random.below(3) === 0 ? 0 : this.#next++;
        const data = new Uint32Array(count * block / 4);
        for (let i = 0; i < count && stamp > 0; i++) {
          data.fill(stamp, i * 1024, (i + 1) * 1024);
          data[i * 1024] = first + i;
        }
        const slot = guest.prepare(queue, {
          sector: first * 8,
          ...(stamp > 0
            ? { type: disk.out, data: new Uint8Array(data.buffer) }
            : { type: disk.in, length: count * block }),
          indirect: random.below(2) === 0,
          pieces: 1 + random.below(3),
        });
        this.#underWay.set(`${queue}/${slot}`, { first, count, stamp });
        asked = true;
      }
      if (asked) {
        guest.publish(queue);
        guest.kick(queue);
      }
    }
  }

  /** Takes what has come back and holds it against what was written. */
  reap(): void {
    for (let queue = 0; queue < this.guest.queues; queue++) {
      for (const { slot, status } of this.guest.reap(queue)) {
        const key = `${queue}/${slot}`;
        const request = this.#underWay.get(key);
        assert.ok(request !== undefined, "an answer to nothing");
        assert.equal(status, 0, "the guest sees no error");
        this.#underWay.delete(key);
        this.finished++;
        for (let i = 0; i < request.count; i++) {
          const at = request.first + i;
          this.#busy.delete(at);
          if (request.stamp > 0) this.stamps[at] = request.stamp;
          else this.#check(at, this.guest.data(queue, slot, (i + 1) * block).subarray(i * block));
        }
      }
    }
  }

  #check(number: number, bytes: Uint8Array): void {
    const stamp = this.stamps[number] as number;
    const words = new Uint32Array(bytes.slice(0, block).buffer);
    assert.equal(words[0], stamp === 0 ? 0 : number, `block ${number}`);
    assert.ok(words.subarray(1).every((word) => word === stamp), `block ${number} is not ${stamp}`);
  }

  /** Reads the whole disk. */
  async checkAll(): Promise<void> {
    for (let first = 0; first < blocks; first += 32) {
      const back = await this.guest.run(0, {
        type: disk.in,
        sector: first * 8,
        length: 32 * block,
      });
      assert.equal(back.status, 0);
      for (let i = 0; i < 32; i++) this.#check(first + i, back.data.subarray(i * block));
    }
  }

  async until(what: () => boolean, depth: number): Promise<void> {
    const limit = performance.now() + 60_000;
    while (!what()) {
      assert.ok(performance.now() < limit, "the device gives nothing back");
      this.reap();
      if (depth > 0) this.fill(depth);
      await new Promise((resolve) => setTimeout(resolve, 0));
    }
  }
}

/** What QEMU does when its connection has ended: tries until somebody answers. */
async function reconnect(socket: string, guest: Guest): Promise<FrontEndClient> {
  const limit = performance.now() + 120_000;
  for (;;) {
    try {
      const front = FrontEndClient.connect(socket);
      front.serve(guest);
      return front;
    } catch (error) {
      if (!(error instanceof Deno.errors.ConnectionRefused)) throw error;
      assert.ok(performance.now() < limit, "nobody serves the volume again");
      await new Promise((resolve) => setTimeout(resolve, 10));
    }
  }
}

for (const how of ["kill", "stop"] as const) {
  Deno.test(`requests under way at the engine's ${how === "kill" ? "kill -9" : "stop"} are done by the next one, each once for the guest`, async () => {
    await seeded(async (random) => {
      await withOptions(async (options) => {
        const guest = new Guest(2);
        const load = new Load(guest, random);
        let front: FrontEndClient | undefined;
        let engine: BareEngine | undefined;
        let redone = 0;
        try {
          for (let epoch = 1; epoch <= 5; epoch++) {
            engine = await startBare({ ...options, epoch });
            front = await reconnect(`${options.directory}/vhost`, guest);
            const left = load.underWay;
            redone += left;
            const begun = load.finished;
            await load.until(() => load.finished > begun + left + 200 + random.below(400), 24);
            await engine[how]();
            // While nobody is there the guest asks for more.
            load.fill(40);
            assert.ok(front.hungUp());
            front.close();
          }
          engine = await startBare({ ...options, epoch: 6 });
          front = await reconnect(`${options.directory}/vhost`, guest);
          await load.until(() => load.underWay === 0, 0);
          await load.checkAll();
          assert.ok(redone > 100, `only ${redone} requests were left to a next engine`);
        } finally {
          front?.close();
          await engine?.kill().catch(() => {});
          guest.release();
        }
      });
    });
  });
}

Deno.test("a disk grows while it is used: the driver is told, and nothing is disconnected", async () => {
  await withOptions(async (options) => {
    const engine = await startBare(options);
    const guest = new Guest(1);
    const front = await reconnect(`${options.directory}/vhost`, guest);
    try {
      const beyond = { type: disk.out, sector: size / 512, data: new Uint8Array(4096).fill(8) };
      assert.equal((await guest.run(0, beyond)).status, 1);
      // Whoever connects is told once, since the size may have changed while nobody was connected.
      assert.equal(front.told(), configChanged);
      assert.equal(front.sectors(), size / 512);
      engine.process.kill("SIGUSR1");
      assert.equal(front.told(), configChanged);
      assert.equal(front.sectors(), size / 256);
      assert.equal((await guest.run(0, beyond)).status, 0);
      const back = await guest.run(0, { type: disk.in, sector: size / 512, length: 4096 });
      assert.ok(back.data.every((byte) => byte === 8));
    } finally {
      front.close();
      guest.release();
      await engine.kill();
    }
  });
});
