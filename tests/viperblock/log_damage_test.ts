/**
 * The files of a real engine that was ended by kill -9, damaged since: what a flush acknowledged is never gone
 * without a word, nothing but what was written is ever served, and what is whole can be read.
 */
import assert from "node:assert/strict";
import { blockBytes } from "../../services/viperblock/format.ts";
import { untilWorks } from "../kit/until.ts";
import { type BareEngine, type BareOptions, startBare } from "./bare_engine.ts";
import { batches, change, flipBit, type FoundBatch } from "./log_batches.ts";
import { NbdClient, NbdFailure } from "./nbd_client.ts";
import { disk, FrontEndClient, Guest } from "./vhost_client.ts";
import { feature, message } from "../../services/viperblock/engine/vhost/protocol.ts";

const sizeBytes = 64 << 20;
const [eperm, eio] = [1, 5];
const key = "6b".repeat(32);

const filled = (blocks: number, value: number) => new Uint8Array(blocks * blockBytes).fill(value);

async function code(work: Promise<unknown>): Promise<number> {
  try {
    await work;
    return 0;
  } catch (error) {
    if (error instanceof NbdFailure) return error.code;
    throw error;
  }
}

interface Written {
  readonly options: BareOptions;
  /** The batches that hold something, one for each write. */
  readonly log: readonly FoundBatch[];
  /** Opens it as it is now; ends it after `look`. */
  reopened(
    look: (client: NbdClient, engine: BareEngine) => Promise<void>,
  ): Promise<void>;
}

/** Writes five times, a flush after each; waits until the log says so of the last one, and ends by kill -9. */
async function written(
  more: Partial<BareOptions>,
  test: (written: Written) => Promise<void>,
): Promise<void> {
  const directory = await Deno.makeTempDir({ prefix: "mulga-damage-", dir: "/var/tmp" });
  const options = { directory, socket: `${directory}/nbd`, sizeBytes, epoch: 1, ...more };
  let epoch = 1;
  try {
    const engine = await startBare(options);
    {
      await using client = await NbdClient.connect(options.socket, "vol-bare");
      for (let i = 0; i < 5; i++) {
        // Each also writes block 100 again.
        await client.write(i * 8 * blockBytes, filled(8, 10 + i));
        await client.write(100 * blockBytes, filled(1, 50 + i));
        await client.flush();
      }
    }
    const all = await untilWorks("the log's word for its last flush", async () => {
      const found = await batches(`${directory}/log`, "vol-bare", options.key !== undefined);
      const last = found.at(-1)?.header;
      return last?.dataCount === 0 && last.sequence > 2 ? found : undefined;
    });
    await engine.kill();
    const log = all.filter(({ header }) => header.dataCount > 0);
    assert.equal(all.at(-1)?.header.synced, log.at(-1)?.header.sequence);
    await test({
      options,
      log,
      async reopened(look) {
        const engine = await startBare({ ...options, epoch: ++epoch });
        try {
          await using client = await NbdClient.connect(options.socket, "vol-bare");
          await look(client, engine);
        } finally {
          await engine.stop();
        }
      },
    });
  } finally {
    await Deno.remove(directory, { recursive: true });
    if (more.vhostSocket !== undefined) await Deno.remove(more.vhostSocket).catch(() => {});
  }
}

/** The batch and place of the block that holds the last byte of write `i` to the range of eight blocks. */
function placeOf(log: readonly FoundBatch[], data: number): { path: string; at: number } {
  let before = 0;
  for (const { path, header } of log) {
    if (data < before + header.dataCount) {
      return { path, at: (header.position + 1 + data - before) * blockBytes };
    }
    before += header.dataCount;
  }
  throw new Error(`the log has only ${before} blocks`);
}

for (const [name, more] of [["a volume", {}], ["an encrypted volume", { key }]] as const) {
  Deno.test(`${name} with a bit wrong in flushed data reads but for that block, and is not written`, async () => {
    await written(more, async ({ log, reopened }) => {
      // The last write but one of block 19: nine blocks each time, of which block 100 is the last.
      const { path, at } = placeOf(log, 2 * 9 + 3);
      await flipBit(path, at + 100);
      await reopened(async (client, { ready: { damage } }) => {
        assert.match(damage?.reason ?? "", /batch \d+ cannot be read/);
        assert.deepEqual(damage?.damage.map(({ block, blocks }) => [block, blocks]), [[19, 1]]);
        assert.equal(damage?.damaged_blocks, 1);
        assert.equal(await code(client.read(19 * blockBytes, 512)), eio);
        assert.equal(await code(client.read(16 * blockBytes, 8 * blockBytes)), eio);
        for (let block = 0; block < 40; block++) {
          if (block === 19) continue;
          const bytes = await client.read(block * blockBytes, blockBytes);
          assert.deepEqual(bytes, filled(1, 10 + (block >> 3)), `block ${block}`);
        }
        assert.deepEqual(await client.read(100 * blockBytes, blockBytes), filled(1, 54));
        assert.deepEqual(await client.read(5000 * blockBytes, blockBytes), filled(1, 0));
        assert.equal(await code(client.write(0, filled(1, 1))), eperm);
        assert.equal(await code(client.trim(0, blockBytes)), eperm);
        assert.equal(await code(client.zero(0, blockBytes)), eperm);
        assert.equal(await code(client.flush()), 0);
        assert.deepEqual(await client.read(0, blockBytes), filled(1, 10), "nothing was changed");
      });
      await flipBit(path, at + 100);
      await reopened(async (client, { ready: { damage } }) => {
        assert.equal(damage, undefined, "mended, it is a volume like any other");
        assert.deepEqual(await client.read(19 * blockBytes, blockBytes), filled(1, 12));
        await client.write(0, filled(1, 77));
        await client.flush();
      });
    });
  });
}

Deno.test("a bit that flipped in the very last flush before a quiet moment is damage, not the log's end", async () => {
  await written({}, async ({ log, reopened }) => {
    const { path, at } = placeOf(log, 5 * 9 - 1);
    await flipBit(path, at + 4000);
    await reopened(async (client, { ready: { damage } }) => {
      assert.deepEqual(damage?.damage.map(({ block }) => block), [100]);
      assert.equal(await code(client.read(100 * blockBytes, blockBytes)), eio);
      assert.deepEqual(await client.read(39 * blockBytes, blockBytes), filled(1, 14));
    });
  });
});

Deno.test("a wrong bit in a batch's header is found and read as it was meant, wherever it is", async () => {
  await written({}, async ({ log, reopened }) => {
    const { path, header: { position } } = log[2]!;
    // Magic, checksum, sequence, an entry, and what is not used.
    for (const at of [1, 9, 24, 130, 4000]) {
      await flipBit(path, position * blockBytes + at);
      await reopened(async (client, { ready: { damage } }) => {
        assert.match(damage?.damage[0]?.why ?? "", /one wrong bit/);
        assert.equal(damage?.damaged_blocks, 0);
        for (let block = 0; block < 40; block++) {
          const bytes = await client.read(block * blockBytes, blockBytes);
          assert.deepEqual(bytes, filled(1, 10 + (block >> 3)), `block ${block}, byte ${at}`);
        }
        assert.deepEqual(await client.read(100 * blockBytes, blockBytes), filled(1, 54));
        assert.equal(await code(client.write(0, filled(1, 1))), eperm);
      });
      await flipBit(path, position * blockBytes + at);
    }
  });
});

Deno.test("where a batch's header is gone the volume is shown as it was just before, and the report says so", async () => {
  await written({}, async ({ log, reopened }) => {
    const lost = log.findIndex(({ header }, i) =>
      log.slice(0, i).reduce((sum, one) => sum + one.header.dataCount, 0) >= 27 &&
      header.dataCount > 0
    );
    const { path, header } = log[lost]!;
    const before = log.slice(0, lost).reduce((sum, one) => sum + one.header.dataCount, 0);
    assert.equal(before, 27, "three of five");
    await change(path, header.position * blockBytes, 512, 0xff);
    await reopened(async (client, { ready: { damage } }) => {
      assert.match(damage?.damage[0]?.why ?? "", /shown as it was before/);
      assert.match(damage?.damage[0]?.why ?? "", new RegExp(`batche?s? ${header.sequence} `));
      for (let block = 0; block < 40; block++) {
        const bytes = await client.read(block * blockBytes, blockBytes);
        assert.deepEqual(bytes, filled(1, block < 24 ? 10 + (block >> 3) : 0), `block ${block}`);
      }
      assert.deepEqual(await client.read(100 * blockBytes, blockBytes), filled(1, 52));
    });
  });
});

Deno.test("a guest that reaches a damaged volume through rings is told that it is read-only", async () => {
  const vhostSocket = "/var/tmp/mulga-damage-vhost-" + crypto.randomUUID().slice(0, 8);
  await written({ vhostSocket }, async ({ log, reopened }) => {
    const { path, at } = placeOf(log, 4);
    await flipBit(path, at);
    await reopened(async () => {
      const guest = new Guest(1);
      const front = FrontEndClient.connect(vhostSocket);
      const offered = front.ask(message.getFeatures).payload.getUint32(0, true);
      assert.equal(offered & feature.readOnly, feature.readOnly);
      front.serve(guest);
      const sectorOf = (block: number) => block * 8;
      const read = async (block: number) =>
        await guest.run(0, { type: disk.in, sector: sectorOf(block), length: blockBytes });
      assert.deepEqual((await read(3)).data, filled(1, 10));
      assert.equal((await read(4)).status, 1);
      for (
        const refused of [
          { type: disk.out, sector: 0, data: filled(1, 1) },
          { type: disk.discard, sector: 0, length: 8 },
          { type: disk.writeZeroes, sector: 0, length: 8 },
        ]
      ) assert.equal((await guest.run(0, refused)).status, 1);
      assert.equal((await guest.run(0, { type: disk.flush, sector: 0 })).status, 0);
      assert.deepEqual((await read(0)).data, filled(1, 10), "nothing was changed");
      front.close();
      guest.release();
    });
  });
});

Deno.test("without its checkpoint a volume gives what its log alone still holds, and EIO for all else", async () => {
  await written({}, async ({ options, log, reopened }) => {
    // As after a checkpoint that has let go of the first segment's batches: they are in it alone.
    await Deno.writeFile(`${options.directory}/log/map.ckpt`, new Uint8Array(8192).fill(9));
    const { path, header } = log[1]!;
    await change(path, header.position * blockBytes, 512, 0xff);
    await reopened(async (client, { ready: { damage } }) => {
      const said = damage?.damage.map(({ why }) => why).join("; ") ?? "";
      assert.match(said, /the local checkpoint cannot be used: this is no block map/);
      // It began empty, so all before the lost batch is known, and the moment before it is shown.
      assert.match(said, /shown as it was before/);
      assert.deepEqual(await client.read(100 * blockBytes, blockBytes), filled(1, 0));
      assert.deepEqual(await client.read(0, blockBytes), filled(1, 10));
    });
    // Without the log's beginning nobody knows that it began empty.
    await change(path, 0, (header.position + 1) * blockBytes, 0x55);
    await reopened(async (client, { ready: { damage } }) => {
      assert.ok((damage?.damaged_blocks ?? 0) > 16_000);
      assert.deepEqual(await client.read(100 * blockBytes, blockBytes), filled(1, 54));
      assert.deepEqual(await client.read(39 * blockBytes, blockBytes), filled(1, 14));
      assert.equal(await code(client.read(5000 * blockBytes, blockBytes)), eio);
      assert.equal(await code(client.read(0, blockBytes)), eio);
    });
  });
});

Deno.test("a volume whose checkpoint the disk cannot read is served for reading, as far as its log goes", async () => {
  await written({}, async ({ options, reopened }) => {
    const checkpoint = `${options.directory}/log/map.ckpt`;
    await Deno.remove(checkpoint).catch(() => {});
    // Nothing is mapped at its beginning, and reading that is EIO.
    await Deno.symlink("/proc/self/mem", checkpoint);
    await reopened(async (client, { ready: { damage } }) => {
      assert.equal(damage?.reason, "the checkpoint cannot be read");
      assert.match(damage.damage[0]?.why ?? "", /the local checkpoint cannot be used/);
      assert.deepEqual(await client.read(100 * blockBytes, blockBytes), filled(1, 54));
      assert.equal(await code(client.write(0, filled(1, 1))), eperm);
    });
  });
});
