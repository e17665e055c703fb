/**
 * Two nodes, and a nats-server that stands still for longer than anybody waits for it. There is no lease that could run out: who
 * is named by the row serves on, and nobody else does, whatever of the changes arrives late.
 */
import assert from "node:assert/strict";
import { createLog } from "../../services/log/log.ts";
import type { BlockStore } from "../../services/viperblock/maps/map_objects.ts";
import { Mounts } from "../../services/viperblock/mounts/mounts.ts";
import { openTables } from "../../services/viperblock/records.ts";
import { startNats, type TestNats } from "../kit/nats.ts";
import { until, untilWorks } from "../kit/until.ts";
import { directoryStore } from "./bare_engine.ts";
import { NbdClient } from "./nbd_client.ts";

const volume_id = "vol-one";
const blockBytes = 4096;
const blocks = 4096;

/** What write `i` leaves in its block. */
const block = (i: number) => {
  const words = new Uint32Array(blockBytes / 4);
  words.fill(i);
  return new Uint8Array(words.buffer);
};

async function startNode(nats: TestNats, home: string, nodeId: string, store: BlockStore) {
  let losses = 0;
  const log = createLog(nodeId, {
    write: (line) => {
      if (line.includes("bus_disconnect")) losses++;
    },
  });
  const bus = await nats.bus(nodeId, log);
  const tables = await openTables(bus, log);
  const directory = `${home}/${nodeId}`;
  await Deno.mkdir(directory);
  const socket = `${directory}.nbd`;
  const mounts = new Mounts({
    nodeId,
    directory,
    socket: () => socket,
    tables,
    store,
    keyOf: () => Promise.reject(new Error("it is not encrypted")),
    log,
    reserveBytes: 0,
    cacheBytes: () => 16 << 20,
    segmentBudget: 8,
  });
  return {
    mounts,
    tables,
    losses: () => losses,
    connect: () => NbdClient.connect(socket, volume_id),
    async [Symbol.asyncDispose]() {
      await mounts.stop();
      await tables[Symbol.asyncDispose]();
    },
  };
}
type Node = Awaited<ReturnType<typeof startNode>>;

/** Writes block after block, each durable, until its connection ends. */
class Writer {
  /** How many were acknowledged. */
  done = 0;
  readonly ended: Promise<void>;

  constructor(client: NbdClient, from = 0) {
    this.done = from;
    this.ended = (async () => {
      try {
        for (;;) {
          const at = this.done % blocks * blockBytes;
          await client.write(at, block(this.done + 1), true);
          this.done++;
        }
      } catch {
        await client[Symbol.asyncDispose]();
      }
    })();
  }
}

/** Every byte is that of the last acknowledged write to it, or of one that was under way at the end. */
async function check(node: Node, acknowledged: number): Promise<void> {
  await using client = await node.connect();
  const content = await client.read(0, blocks * blockBytes);
  for (let at = 0; at < blocks; at++) {
    const laps = Math.floor((acknowledged - 1 - at) / blocks);
    const last = laps < 0 ? 0 : at + laps * blocks + 1;
    const next = acknowledged % blocks === at ? acknowledged + 1 : last;
    const found = content.subarray(at * blockBytes, (at + 1) * blockBytes);
    assert.ok(
      [last, next].some((i) => Buffer.from(found).equals(block(i))),
      `block ${at} is that of write ${last}`,
    );
  }
}

Deno.test("while nats-server stands still one node serves on, and no other begins; not a byte is lost when it goes on", async (t) => {
  await using nats = await startNats();
  const home = await Deno.makeTempDir({ prefix: "mulga-still-", dir: "/var/tmp" });
  await Deno.mkdir(`${home}/objects`);
  const objects = directoryStore(`${home}/objects`);
  let stored = () => {};
  const store: BlockStore = {
    ...objects,
    async put(key, body) {
      await objects.put(key, body);
      if (key.startsWith("maps/")) stored();
    },
  };
  try {
    await using a = await startNode(nats, home, "node-a", store);
    await using b = await startNode(nats, home, "node-b", store);
    const both = () => a.mounts.count + b.mounts.count;
    const standsStill = () => {
      const before = [a.losses(), b.losses()];
      nats.pause();
      return {
        /** When both have given it up. */
        noticed: () =>
          until(
            "both nodes have lost it",
            () => a.losses() > (before[0] ?? 0) && b.losses() > (before[1] ?? 0),
          ),
      };
    };
    await a.tables.volumes.create(volume_id, {
      volume_id,
      size_bytes: blocks * blockBytes,
      epoch: 0,
      state: "ok",
    });
    await a.mounts.mount(volume_id);
    let writer = new Writer(await a.connect());

    await t.step("who is named by the row serves on, and the other is refused", async () => {
      await assert.rejects(b.mounts.mount(volume_id), { code: "VolumeInUse" });
      const { noticed } = standsStill();
      const refused = assert.rejects(b.mounts.mount(volume_id), { code: "ServiceUnavailable" });
      await noticed();
      await refused;
      await assert.rejects(a.mounts.unmount(volume_id), { code: "ServiceUnavailable" });
      const before = writer.done;
      await until("it is written to", () => writer.done > before + 10);
      nats.resume();
      const answer = await untilWorks(
        "the tables answer",
        () =>
          b.mounts.mount(volume_id).then(() => "mounted", (error) => {
            if (error.code === "ServiceUnavailable") throw error;
            return error.code as string;
          }),
      );
      assert.deepEqual([answer, both()], ["VolumeInUse", 1]);
    });

    await t.step(
      "the other begins only when the first has ended, with all that it acknowledged",
      async () => {
        await untilWorks("it is unmounted", () => a.mounts.unmount(volume_id));
        assert.equal(both(), 0);
        await b.mounts.mount(volume_id);
        // Nobody can have been answered by the first one any more.
        const { done } = writer;
        await writer.ended;
        assert.equal(writer.done, done);
        await check(b, done);
        writer = new Writer(await b.connect(), done);
        await until("it is written to", () => writer.done > done + 10);
      },
    );

    await t.step(
      "an unmount that the tables hear late leaves one node or none with it",
      async () => {
        let still: ReturnType<typeof standsStill> | undefined;
        stored = () => {
          stored = () => {};
          still = standsStill();
        };
        const unmounting = b.mounts.unmount(volume_id).then(() => true, () => false);
        await until("it has moved everything", () => still !== undefined);
        await still?.noticed();
        assert.equal(await unmounting, false);
        await writer.ended;
        nats.resume();
        // Whichever of the changes has been taken: it is served by one node, and can be had by the other.
        await untilWorks("the first has it", async () => {
          assert.ok(both() <= 1, "one serves it");
          try {
            await a.mounts.mount(volume_id);
            return true;
          } catch (error) {
            if ((error as { code?: string }).code === "VolumeInUse") {
              await b.mounts.unmount(volume_id);
            }
            throw error;
          }
        });
        assert.deepEqual([a.mounts.count, b.mounts.count], [1, 0]);
        await check(a, writer.done);
        await assert.rejects(b.connect());
      },
    );
  } finally {
    nats.resume();
    await Deno.remove(home, { recursive: true });
  }
});
