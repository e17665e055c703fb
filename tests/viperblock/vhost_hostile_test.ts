/**
 * Guests and front ends that lie, loop, flood and vanish at the vhost-user-blk door: they lose their queue
 * or their connection, and whoever uses the volume otherwise does not notice.
 */
import assert from "node:assert/strict";
import { closeFile, createEvent, openFile, openFlags, signalEvent } from "../../ffi/libc.ts";
import { createPassable } from "../../ffi/passed_memory.ts";
import { message } from "../../services/viperblock/engine/vhost/protocol.ts";
import { seeded } from "../kit/random.ts";
import { type BareEngine, startBare } from "./bare_engine.ts";
import { NbdClient } from "./nbd_client.ts";
import { disk, FrontEndClient, Guest, queueSize, words } from "./vhost_client.ts";

const size = 16 << 20;

interface Scene {
  readonly socket: string;
  readonly engine: BareEngine;
  /** The volume is served on, over a connection that was there before. */
  unmoved(): Promise<void>;
}

async function withEngine(work: (scene: Scene) => Promise<void>): Promise<void> {
  const directory = await Deno.makeTempDir({ prefix: "mulga-vhost-", dir: "/var/tmp" });
  const socket = `${directory}/vhost`;
  const nbd = `${directory}/nbd`;
  let engine: BareEngine | undefined;
  try {
    engine = await startBare({
      directory,
      socket: nbd,
      vhostSocket: socket,
      sizeBytes: size,
      epoch: 1,
    });
    await using witness = await NbdClient.connect(nbd, "vol-bare");
    await witness.write(size - 4096, new Uint8Array(4096).fill(9));
    await work({
      socket,
      engine,
      async unmoved() {
        assert.equal((await witness.read(size - 4096, 4096))[4095], 9);
      },
    });
  } finally {
    await engine?.kill();
    await Deno.remove(directory, { recursive: true });
  }
}

/** Until the queue that was broken can be told from one that is served: a stop answers. */
function restart(front: FrontEndClient, guest: Guest, queue: number): void {
  front.stop(queue);
  const { available, used, descriptors } = guest.ring(queue);
  guest.ram.memory.bytes.fill(0, descriptors, used + 6 + queueSize * 8);
  assert.ok(available > descriptors);
  guest.available[queue] = guest.used[queue] = 0;
  guest.free[queue] = Array.from({ length: 64 }, (_, i) => i);
  front.queue(guest, queue);
}

/** Serves without in-flight memory, as a reset guest would: what was broken is not done again. */
function serve(socket: string, queues = 1): { front: FrontEndClient; guest: Guest } {
  const guest = new Guest(queues);
  const front = FrontEndClient.connect(socket);
  front.features();
  front.memory(guest);
  for (let queue = 0; queue < queues; queue++) front.queue(guest, queue);
  return { front, guest };
}

Deno.test("a ring that lies is served no more until it is reset; other queues and clients go on", async () => {
  await withEngine(async ({ socket, unmoved }) => {
    const { front, guest } = serve(socket, 2);
    const whole = { type: disk.out, sector: 0, data: new Uint8Array(4096).fill(1) } as const;
    const table = guest.ring(0).descriptors;
    const one = (at: number, address: number | bigint, length: number, flags: number, next = 0) => {
      guest.describe(at, 0, length, flags, next);
      guest.view.setBigUint64(at, BigInt(address), true);
    };
    const header = guest.slot(0, 0);
    const lies: Record<string, () => void> = {
      "a loop": () => {
        one(table, header, 16, 1, 1);
        one(table + 16, header, 16, 1, 0);
      },
      "outside": () => one(table, guest.bytes, 16, 0),
      "around the end": () => one(table, 2n ** 64n - 8n, 16, 0),
      "longer than memory": () => one(table, header, 0xffff_ffff, 0),
      "an indirect table outside": () => one(table, guest.bytes - 16, 32, 4),
      "an indirect table in an indirect table": () => {
        one(table, header + 1024, 16, 4);
        one(header + 1024, header + 1024, 16, 4);
      },
      "no status": () => one(table, header, 16, 0),
      "no header": () => one(table, header, 1, 2),
      "a header cut short": () => {
        one(table, header, 15, 1, 1);
        one(table + 16, header + 64, 1, 2);
      },
      "readable behind writable": () => {
        one(table, header, 16, 1 | 2, 1);
        one(table + 16, header, 16, 0);
      },
    };
    for (const [name, lie] of Object.entries(lies)) {
      lie();
      guest.offer(0, 0);
      guest.publish(0);
      guest.kick(0);
      assert.equal((await guest.run(1, whole)).status, 0, name);
      assert.deepEqual(guest.reap(0), [], `${name}: nothing came back`);
      await unmoved();
      restart(front, guest, 0);
      assert.equal((await guest.run(0, whole)).status, 0, `${name}: served after the reset`);
    }
    for (const head of [queueSize, 0xffff]) {
      guest.offer(0, head);
      guest.publish(0);
      guest.kick(0);
      assert.equal((await guest.run(1, whole)).status, 0);
      restart(front, guest, 0);
    }
    // More than the ring has; the same head twice.
    guest.available[0] = queueSize + 1;
    guest.publish(0);
    guest.kick(0);
    assert.equal((await guest.run(1, whole)).status, 0);
    restart(front, guest, 0);
    guest.prepare(0, whole);
    guest.offer(0, 63 * 8);
    guest.publish(0);
    guest.kick(0);
    assert.equal((await guest.run(1, whole)).status, 0);
    restart(front, guest, 0);
    assert.equal((await guest.run(0, whole)).status, 0);
    await unmoved();
    front.close();
    guest.release();
  });
});

Deno.test("kicks without end, and descriptors that change while they are read, harm nobody else", async () => {
  await seeded(async (random) => {
    await withEngine(async ({ socket, unmoved }) => {
      const { front, guest } = serve(socket, 2);
      for (let i = 0; i < 20_000; i++) guest.kick(0);
      await unmoved();
      const read = { type: disk.in, sector: 0, length: 512 };
      for (let round = 0; round < 60; round++) {
        const slots = Array.from({ length: 20 }, () =>
          guest.prepare(0, {
            type: random.below(2) === 0 ? disk.in : disk.out,
            sector: random.below(1000),
            length: 4096,
            data: new Uint8Array(4096),
            indirect: random.below(2) === 0,
          }));
        guest.publish(0);
        guest.kick(0);
        // The engine is another process: it reads these while they change.
        for (let i = 0; i < 3000; i++) {
          const slot = random.pick(slots);
          const at = random.below(2) === 0
            ? guest.ring(0).descriptors + (slot * 8 + random.below(3)) * 16
            : guest.slot(0, slot) + 1024 + random.below(3) * 16;
          guest.view.setUint32(
            at + random.pick([0, 4, 8, 12]),
            random.pick([0, 1, 0xffff_ffff, 0x10000]),
            true,
          );
        }
        await unmoved();
        guest.reap(0);
        restart(front, guest, 0);
        assert.equal((await guest.run(0, read)).status, 0, "served after the reset");
      }
      assert.equal((await guest.run(1, read)).status, 0);
      front.close();
      guest.release();
    });
  });
});

Deno.test("rings full of chance are survived", async () => {
  await seeded(async (random) => {
    await withEngine(async ({ socket, unmoved }) => {
      const { front, guest } = serve(socket, 2);
      const { descriptors } = guest.ring(0);
      for (let round = 0; round < 150; round++) {
        for (let i = 0; i < 64; i++) {
          const slot = guest.slot(0, random.below(64));
          const at = descriptors + i * 16;
          const address = random.pick([
            slot,
            slot + 64,
            slot + 4096,
            guest.bytes - 8,
            0,
            0xffff_ffff,
          ]);
          const length = random.pick([0, 1, 16, 17, 512, 4096, 0xffff_ffff, 32]);
          guest.describe(
            at,
            address,
            length,
            random.below(random.below(5) === 0 ? 8 : 4),
            random.below(64),
          );
          guest.view.setUint32(slot, random.pick([0, 1, 4, 8, 11, 13, 99]), true);
          guest.view.setUint32(slot + 8, random.below(40_000), true);
        }
        for (let i = random.below(30); i >= 0; i--) guest.offer(0, random.below(70));
        guest.publish(0);
        guest.kick(0);
        assert.equal((await guest.run(1, { type: disk.in, sector: 0, length: 512 })).status, 0);
        restart(front, guest, 0);
        if (round % 20 === 0) await unmoved();
      }
      front.close();
      guest.release();
    });
  });
});

Deno.test("a front end that breaks the protocol loses its connection, and the next one is served", async () => {
  await withEngine(async ({ socket, unmoved }) => {
    const guest = new Guest(1);
    const file = await Deno.makeTempFile();
    await Deno.writeFile(file, new Uint8Array(8192));
    const plain = openFile(file, openFlags.readWrite);
    const event = createEvent();
    const small = createPassable("small", 4096);
    const region = (length: number) => {
      const view = new DataView(new ArrayBuffer(40));
      view.setUint32(0, 1, true);
      view.setBigUint64(16, BigInt(length), true);
      return new Uint8Array(view.buffer);
    };
    const breaks: Record<string, (front: FrontEndClient) => void> = {
      "another version": (front) => front.send(message.getFeatures, words(), [], 2),
      "a payload without measure": (front) => front.raw(words(1, 1, 0xffff_ffff)),
      "an unknown message": (front) => front.send(99, words()),
      "a queue of none": (front) => front.send(message.setRingSize, words(0, 0)),
      "a queue of 100": (front) => front.send(message.setRingSize, words(0, 100)),
      "a queue of 65536": (front) => front.send(message.setRingSize, words(0, 65_536)),
      "queue 8": (front) => front.send(message.setRingSize, words(8, 128)),
      "memory without a descriptor": (front) => front.send(message.setMemory, region(4096)),
      "memory that may shrink": (front) => front.send(message.setMemory, region(4096), [plain]),
      "memory beyond its file": (front) => front.send(message.setMemory, region(8192), [small.fd]),
      "a kick that is a file": (front) => front.send(message.setRingKick, words(0, 0), [plain]),
      "a call that is a file": (front) => front.send(message.setRingCall, words(0, 0), [plain]),
      "more descriptors than allowed": (front) =>
        front.send(message.setOwner, words(), new Array(12).fill(event)),
      "a start without a ring": (front) => {
        front.memory(guest);
        front.send(message.setRingEnable, words(0, 1));
        front.send(message.setRingKick, words(0, 0), [event]);
      },
      "a ring outside memory": (front) => {
        front.send(message.setMemory, region(4096), [small.fd]);
        front.queue(guest, 0);
      },
      "in-flight memory too short": (front) => {
        const view = new DataView(new ArrayBuffer(24));
        view.setBigUint64(0, 1n << 40n, true);
        view.setUint16(16, 1, true);
        view.setUint16(18, 512, true);
        front.send(message.setInFlight, new Uint8Array(view.buffer), [small.fd]);
      },
      "configuration beyond its end": (front) =>
        front.send(message.getConfig, words(250, 60, 0, ...new Array(15).fill(0))),
    };
    for (const [name, broken] of Object.entries(breaks)) {
      const front = FrontEndClient.connect(socket);
      front.features();
      broken(front);
      assert.ok(front.hungUp(), name);
      front.close();
      await unmoved();
    }
    // Half a header, and then nothing; then one in pieces, which is as good as any.
    const silent = FrontEndClient.connect(socket);
    silent.raw(new Uint8Array(5));
    silent.close();
    const front = FrontEndClient.connect(socket);
    const question = new Uint8Array(words(message.getFeatures, 1, 0));
    for (const byte of question) front.raw(new Uint8Array([byte]));
    assert.equal(front.receive()?.request, message.getFeatures);
    front.serve(guest);
    assert.equal((await guest.run(0, { type: disk.in, sector: 0, length: 512 })).status, 0);
    await unmoved();
    front.close();
    guest.release();
    for (const fd of [plain, event, small.fd]) closeFile(fd);
    await Deno.remove(file);
  });
});

Deno.test("messages of chance end their connection at most, and nothing is left of them", async () => {
  await seeded(async (random) => {
    await withEngine(async ({ socket, engine, unmoved }) => {
      const guest = new Guest(2);
      const fds = [guest.ram.fd, guest.kicks[0] as number, guest.calls[0] as number];
      const open = () => [...Deno.readDirSync(`/proc/${engine.process.pid}/fd`)].length;
      let before = 0;
      for (let round = 0; round < 50; round++) {
        const front = FrontEndClient.connect(socket);
        if (random.below(2) === 0) front.serve(guest);
        for (let i = 0; i < 30; i++) {
          const payload = new Uint8Array(random.pick([0, 8, 8, 8, 40, 24, 72])).map(() =>
            random.below(256)
          );
          if (random.below(3) > 0) payload.fill(0, 1);
          if (payload.length > 4) payload[4] = random.pick([0, 1, 64, 128]);
          const request = random.pick([...Object.values(message), 200]);
          const passed = random.below(2) === 0 ? [] : [random.pick(fds)];
          if (!front.send(request, payload, passed, random.pick([1, 1, 9]))) break;
          signalEvent(guest.kicks[1] as number);
        }
        front.close();
        // An answer to the next one means that the one before is over.
        const next = FrontEndClient.connect(socket);
        next.ask(message.getFeatures);
        next.close();
        if (round === 10) before = open();
      }
      await unmoved();
      const front = FrontEndClient.connect(socket);
      const fresh = new Guest(1);
      front.serve(fresh);
      assert.equal((await fresh.run(0, { type: disk.in, sector: 0, length: 512 })).status, 0);
      front.close();
      fresh.release();
      const last = FrontEndClient.connect(socket);
      last.ask(message.getFeatures);
      assert.ok(open() <= before + 3, `${before} descriptors became ${open()}`);
      last.close();
      guest.release();
    });
  });
});
