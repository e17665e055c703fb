/**
 * The volume against a plain array of bytes: random reads and writes of any alignment, zeroes, trims and
 * flushes over several connections, with restarts and with everything local thrown away in between.
 */
import assert from "node:assert/strict";
import { Buffer } from "node:buffer";
import { seeded } from "../kit/random.ts";
import { type BareEngine, startBare } from "./bare_engine.ts";
import { NbdClient } from "./nbd_client.ts";

const size = 40 << 20;

Deno.test("a volume holds what a plain array holds, through restarts and cold reopens", async () => {
  await seeded(async (random) => {
    const directory = await Deno.makeTempDir({ prefix: "mulga-model-", dir: "/var/tmp" });
    const socket = `${directory}/nbd`;
    const model = new Uint8Array(size);
    let engine: BareEngine | undefined;
    let savedEpoch = 0;
    try {
      for (let epoch = 1; epoch <= 5; epoch++) {
        engine = await startBare({
          directory,
          socket,
          sizeBytes: size,
          epoch,
          savedEpoch,
          segmentBudget: 4,
          // Smaller than what is read, so that blocks are thrown out and come again.
          cacheBytes: 3 << 20,
        });
        await using first = await NbdClient.connect(socket, "vol-bare");
        await using second = await NbdClient.connect(socket, "vol-bare");
        assert.equal(first.size, size);
        for (let step = 0; step < 1200; step++) {
          const client = random.below(2) === 0 ? first : second;
          const longest = random.pick([
            100,
            4096,
            20_000,
            300_000,
            random.below(50) === 0 ? 6e6 : 1,
          ]);
          const aligned = random.below(3) === 0;
          const grain = aligned ? 4096 : 1;
          const offset = random.below(Math.floor((size - longest) / grain)) * grain;
          const length = aligned
            ? Math.max(4096, Math.floor(longest / 4096) * 4096)
            : 1 + random.below(longest);
          switch (random.below(8)) {
            case 0:
              await client.zero(offset, length);
              model.fill(0, offset, offset + length);
              break;
            case 1: {
              await client.trim(offset, length);
              // Whole blocks are gone; the ends of a trim are advice that is not taken.
              const from = Math.ceil(offset / 4096) * 4096;
              const to = Math.floor((offset + length) / 4096) * 4096;
              if (to > from) model.fill(0, from, to);
              break;
            }
            case 2:
            case 3:
            case 4: {
              const data = new Uint8Array(length).fill(random.below(256));
              for (let i = 0; i < length; i += 1 + random.below(5000)) data[i] = random.below(256);
              await client.write(offset, data, random.below(20) === 0);
              model.set(data, offset);
              break;
            }
            case 5:
              if (random.below(10) === 0) await client.flush();
              break;
            default: {
              const data = await client.read(offset, length);
              assert.ok(
                Buffer.from(data).equals(Buffer.from(model.subarray(offset, offset + length))),
                `read of ${length} bytes at ${offset} in step ${step} of epoch ${epoch}`,
              );
            }
          }
        }
        // Parts of one block at once, from both sides: none may undo another.
        await Promise.all(Array.from({ length: 64 }, (_, i) => {
          const data = new Uint8Array(64).fill(i + 1);
          model.set(data, 8192 + i * 64);
          return (i % 2 === 0 ? first : second).write(8192 + i * 64, data);
        }));
        for (let at = 0; at < size; at += 4 << 20) {
          const data = await first.read(at, 4 << 20);
          assert.ok(
            Buffer.from(data).equals(Buffer.from(model.subarray(at, at + (4 << 20)))),
            `4 MiB at ${at} at the end of epoch ${epoch}`,
          );
        }
        if (epoch % 2 === 1) {
          await engine.stop();
        } else {
          const map = await engine.unmount();
          savedEpoch = epoch;
          // All that is local goes; the map's parts become the checkpoint, as on another node.
          await Deno.remove(`${directory}/log`, { recursive: true });
          await Deno.mkdir(`${directory}/log`);
          using checkpoint = await Deno.open(`${directory}/log/map.ckpt`, {
            write: true,
            create: true,
          });
          for (let part = 0; part < Number(map.parts); part++) {
            const name = part.toString().padStart(6, "0");
            const bytes = await Deno.readFile(`${directory}/objects/${map.key}/${name}`);
            await checkpoint.write(bytes);
          }
        }
        engine = undefined;
      }
    } finally {
      await engine?.kill();
      await Deno.remove(directory, { recursive: true });
    }
  });
});
