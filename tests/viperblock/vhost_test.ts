/** The vhost-user-blk door of the real engine, driven as QEMU and a guest's driver drive it. */
import assert from "node:assert/strict";
import { Buffer } from "node:buffer";
import {
  createSnapshot,
  createVolume,
  mountVolume,
  resizeVolume,
  unmountVolume,
} from "../../services/viperblock/contract.ts";
import { configChanged } from "../../services/viperblock/engine/vhost/protocol.ts";
import { seeded } from "../kit/random.ts";
import { type BareEngine, startBare } from "./bare_engine.ts";
import { startEngine } from "./engine.ts";
import { NbdClient } from "./nbd_client.ts";
import { disk, FrontEndClient, Guest, longestRequest } from "./vhost_client.ts";

const size = 64 << 20;

interface Bench {
  readonly directory: string;
  readonly socket: string;
  start(epoch: number): Promise<BareEngine>;
}

async function withEngine(work: (bench: Bench) => Promise<void>): Promise<void> {
  const directory = await Deno.makeTempDir({ prefix: "mulga-vhost-", dir: "/var/tmp" });
  const socket = `${directory}/vhost`;
  const started: BareEngine[] = [];
  try {
    await work({
      directory,
      socket,
      async start(epoch) {
        const engine = await startBare({
          directory,
          socket: `${directory}/nbd`,
          vhostSocket: socket,
          sizeBytes: size,
          epoch,
          cacheBytes: 4 << 20,
          segmentBudget: 6,
        });
        started.push(engine);
        return engine;
      },
    });
  } finally {
    for (const engine of started) await engine.kill().catch(() => {});
    await Deno.remove(directory, { recursive: true });
  }
}

Deno.test("a guest's driver sees its disk, writes, flushes, and reads back what NBD sees too", async () => {
  await withEngine(async ({ directory, socket, start }) => {
    const engine = await start(1);
    const guest = new Guest(1);
    const front = FrontEndClient.connect(socket);
    front.serve(guest);
    assert.equal(front.sectors(), size / 512);
    const name = await guest.run(0, { type: disk.identity, sector: 0, length: 20 });
    assert.equal(new TextDecoder().decode(name.data).replace(/\0+$/, ""), "volbare");
    const data = crypto.getRandomValues(new Uint8Array(8192));
    assert.equal((await guest.run(0, { type: disk.out, sector: 16, data })).status, 0);
    assert.equal((await guest.run(0, { type: disk.flush, sector: 0 })).status, 0);
    const back = await guest.run(0, { type: disk.in, sector: 16, length: 8192 });
    assert.deepEqual([back.status, back.written], [0, 8193]);
    assert.deepEqual(back.data, data);
    await using client = await NbdClient.connect(`${directory}/nbd`, "vol-bare");
    assert.deepEqual(new Uint8Array(await client.read(8192, 8192)), data);
    await client.write(8192, new Uint8Array(4096).fill(5));
    const mixed = await guest.run(0, { type: disk.in, sector: 16, length: 4096 });
    assert.ok(mixed.data.every((byte) => byte === 5));
    front.close();
    guest.release();
    await engine.stop();
  });
});

Deno.test("random requests over two queues, in chains of every shape, leave what a plain array holds", async () => {
  await seeded(async (random) => {
    await withEngine(async ({ socket, start }) => {
      const engine = await start(1);
      const guest = new Guest(2);
      const front = FrontEndClient.connect(socket);
      front.serve(guest, 3);
      const model = new Uint8Array(size);
      for (let round = 0; round < 60; round++) {
        // Requests of one round do not overlap, so their order does not matter.
        const waiting = new Map<string, { offset: number; length: number; reads: boolean }>();
        const area = Math.floor(size / 40 / 512) * 512;
        for (let i = 0; i < 40; i++) {
          const queue = random.below(2);
          const longest = random.pick([512, 4096, 40_960, longestRequest]);
          const length = (1 + random.below(Math.floor(longest / 512))) * 512;
          const aligned = random.below(2) === 0 ? 4096 : 512;
          const within = Math.floor((area - length) / aligned);
          const offset = Math.min(i * area + random.below(within) * aligned, size - length);
          const from = Math.floor(offset / 512);
          const shape = {
            indirect: random.below(2) === 0,
            cutHeader: random.below(3) === 0,
          };
          const pieces = shape.indirect ? 1 + random.below(40) : 1 + random.below(5);
          const kind = random.below(7);
          const sector = from;
          const at = from * 512;
          if (kind < 3) {
            const slot = guest.start(queue, { type: disk.in, sector, length, pieces, ...shape });
            waiting.set(`${queue}/${slot}`, { offset: at, length, reads: true });
            continue;
          }
          let slot: number;
          if (kind < 6) {
            const data = new Uint8Array(length);
            for (let word = 0; word < length; word += 512) {
              data.fill(random.below(256), word, word + 512);
            }
            slot = guest.start(queue, { type: disk.out, sector, data, pieces, ...shape });
            model.set(data, at);
          } else {
            slot = guest.start(queue, {
              type: disk.writeZeroes,
              sector,
              length: length / 512,
              flags: random.below(2),
              ...shape,
            });
            model.fill(0, at, at + length);
          }
          waiting.set(`${queue}/${slot}`, { offset: at, length, reads: false });
        }
        while (waiting.size > 0) {
          for (const queue of [0, 1]) {
            if (![...waiting.keys()].some((key) => key.startsWith(`${queue}/`))) continue;
            for (const { slot, status, written } of await guest.next(queue)) {
              const request = waiting.get(`${queue}/${slot}`);
              waiting.delete(`${queue}/${slot}`);
              assert.ok(request !== undefined);
              assert.equal(status, 0);
              assert.equal(written, request.reads ? request.length + 1 : 1);
              if (!request.reads) continue;
              const expected = model.subarray(request.offset, request.offset + request.length);
              const got = guest.data(queue, slot, request.length);
              assert.ok(Buffer.from(got).equals(expected), `read at ${request.offset}`);
            }
          }
        }
        if (round % 10 === 9) {
          assert.equal((await guest.run(0, { type: disk.flush, sector: 0 })).status, 0);
        }
      }
      front.close();
      guest.release();
      await engine.stop();
    });
  });
});

Deno.test("requests out of range, of unknown kinds or too short are refused, and the disk goes on", async () => {
  await withEngine(async ({ socket, start }) => {
    await start(1);
    const guest = new Guest(1);
    const front = FrontEndClient.connect(socket);
    front.serve(guest);
    const end = size / 512;
    const status = async (request: Parameters<Guest["run"]>[1]) =>
      (await guest.run(0, request)).status;
    assert.equal(await status({ type: disk.in, sector: end, length: 512 }), 1);
    assert.equal(await status({ type: disk.in, sector: end - 1, length: 1024 }), 1);
    assert.equal(await status({ type: disk.in, sector: 2 ** 52, length: 512 }), 1);
    assert.equal(await status({ type: disk.in, sector: 0, length: 511 }), 1);
    assert.equal(await status({ type: disk.in, sector: 0, length: 0 }), 1);
    assert.equal(await status({ type: disk.out, sector: end, data: new Uint8Array(512) }), 1);
    assert.equal(await status({ type: disk.out, sector: 0, data: new Uint8Array(100) }), 1);
    assert.equal(await status({ type: disk.discard, sector: end, length: 8 }), 1);
    assert.equal(await status({ type: disk.discard, sector: 0, length: 0 }), 1);
    assert.equal(await status({ type: disk.discard, sector: 0, length: 0xffff_ffff }), 1);
    assert.equal(await status({ type: disk.discard, sector: 0, length: 8, flags: 1 }), 2);
    assert.equal(await status({ type: disk.writeZeroes, sector: 0, length: 8, flags: 2 }), 2);
    assert.equal(await status({ type: 77, sector: 0 }), 2);
    assert.equal(await status({ type: disk.out, sector: 0, data: new Uint8Array(512).fill(1) }), 0);
    const back = await guest.run(0, { type: disk.in, sector: 0, length: 1024 });
    assert.deepEqual([back.data[511], back.data[512]], [1, 0]);
    front.close();
    guest.release();
  });
});

Deno.test("a queue that is stopped goes on where it stopped, for the same front end and the next", async () => {
  await withEngine(async ({ socket, start }) => {
    await start(1);
    const guest = new Guest(2);
    let front = FrontEndClient.connect(socket);
    front.serve(guest);
    const data = new Uint8Array(4096).fill(3);
    assert.equal((await guest.run(1, { type: disk.out, sector: 0, data })).status, 0);
    assert.equal(front.stop(0), 0);
    assert.equal(front.stop(1), 1);
    // Asked while it is stopped: nobody takes it until it is served again.
    const slot = guest.start(1, { type: disk.in, sector: 0, length: 4096 });
    front.queue(guest, 1);
    assert.equal((await guest.next(1))[0]?.slot, slot);
    assert.ok(guest.data(1, slot, 4096).every((byte) => byte === 3));
    front.close();
    front = FrontEndClient.connect(socket);
    front.serve(guest);
    assert.equal((await guest.run(1, { type: disk.in, sector: 0, length: 512 })).status, 0);
    front.close();
    guest.release();
  });
});

Deno.test("the service's own rights suffice: a volume is mounted, frozen, grown and unmounted beneath its guest", async () => {
  await using engine = await startEngine();
  const volume_id = "vol-00000000000000001";
  await engine.ask(createVolume, { volume_id, size_bytes: size });
  const { vhost_socket } = await engine.ask(mountVolume, { volume_id });
  assert.ok(vhost_socket !== undefined);
  const guest = new Guest(1);
  let front = FrontEndClient.connect(vhost_socket);
  front.serve(guest);
  const name = await guest.run(0, { type: disk.identity, sector: 0, length: 20 });
  assert.equal(new TextDecoder().decode(name.data), "vol00000000000000001");
  const write = async (sector: number, value: number) => {
    const data = new Uint8Array(65_536).fill(value);
    assert.equal((await guest.run(0, { type: disk.out, sector, data })).status, 0);
  };
  await write(0, 1);
  const snapshot_id = "snap-00000000000000001";
  await engine.ask(createSnapshot, { volume_id, snapshot_id });
  await write(0, 2);
  assert.equal(front.told(), configChanged);
  assert.equal(front.sectors(), size / 512);
  await engine.ask(resizeVolume, { volume_id, size_bytes: 2 * size });
  assert.equal(front.told(), configChanged);
  assert.equal(front.sectors(), size / 256);
  await write(size / 512, 3);
  await engine.ask(unmountVolume, { volume_id });
  assert.ok(front.hungUp());
  front.close();
  // What is asked for while nobody serves is done when somebody does.
  const waiting = guest.start(0, { type: disk.in, sector: 0, length: 65_536 });
  await engine.ask(mountVolume, { volume_id });
  front = FrontEndClient.connect(vhost_socket);
  front.serve(guest);
  assert.equal((await guest.next(0))[0]?.slot, waiting);
  assert.ok(guest.data(0, waiting, 65_536).every((byte) => byte === 2));
  const beyond = await guest.run(0, { type: disk.in, sector: size / 512, length: 65_536 });
  assert.ok(beyond.data.every((byte) => byte === 3));
  front.close();
  guest.release();

  const clone = "vol-00000000000000002";
  await engine.ask(createVolume, { volume_id: clone, size_bytes: size, snapshot_id });
  const mounted = await engine.ask(mountVolume, { volume_id: clone });
  const other = new Guest(1);
  const second = FrontEndClient.connect(mounted.vhost_socket ?? "");
  second.serve(other);
  const frozen = await other.run(0, { type: disk.in, sector: 0, length: 65_536 });
  assert.ok(frozen.data.every((byte) => byte === 1));
  second.close();
  other.release();
});
