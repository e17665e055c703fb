/**
 * The log of a real engine that was ended by kill -9, in which a bit has flipped since: what a flush
 * acknowledged is never gone without a word.
 */
import assert from "node:assert/strict";
import { blockBytes } from "../../services/viperblock/format.ts";
import { type BatchHeader, decodeHeader } from "../../services/viperblock/log_record.ts";
import { eventually } from "../kit/stack.ts";
import { startBare } from "./bare_engine.ts";
import { NbdClient } from "./nbd_client.ts";

const sizeBytes = 64 << 20;

/** Every batch in the volume's log files, by file. */
async function batches(directory: string): Promise<{ path: string; header: BatchHeader }[]> {
  const found: { path: string; header: BatchHeader }[] = [];
  for await (const { name } of Deno.readDir(`${directory}/log`)) {
    if (!name.endsWith(".seg")) continue;
    const path = `${directory}/log/${name}`;
    const bytes = await Deno.readFile(path);
    for (let at = 0; at + blockBytes <= bytes.length; at += blockBytes) {
      const header = decodeHeader(bytes.slice(at, at + blockBytes), "vol-bare");
      if (header?.position === at / blockBytes) found.push({ path, header });
    }
  }
  return found.sort((a, b) => a.header.sequence - b.header.sequence);
}

async function flipBit(path: string, at: number): Promise<void> {
  using file = await Deno.open(path, { read: true, write: true });
  const byte = new Uint8Array(1);
  await file.seek(at, Deno.SeekMode.Start);
  await file.read(byte);
  byte[0] = (byte[0] as number) ^ 4;
  await file.seek(at, Deno.SeekMode.Start);
  await file.write(byte);
  await file.sync();
}

Deno.test("a bit that flipped in the very last flush before a quiet moment is damage, not the log's end", async () => {
  const directory = await Deno.makeTempDir({ prefix: "mulga-damage-", dir: "/var/tmp" });
  try {
    const options = { directory, socket: `${directory}/nbd`, sizeBytes };
    const engine = await startBare({ ...options, epoch: 1 });
    {
      await using client = await NbdClient.connect(options.socket, "vol-bare");
      await client.write(0, new Uint8Array(8 * blockBytes).fill(7));
      await client.flush();
    }
    // Nobody writes any more; the log says by itself, soon, what was durable.
    const written = await eventually("the log's word for its last flush", async () => {
      const all = await batches(directory);
      const last = all.at(-1)?.header;
      return last?.dataCount === 0 && last.sequence > 2 ? all : undefined;
    });
    await engine.kill();
    const { path, header } = written.findLast(({ header }) => header.dataCount > 0)!;
    assert.equal(written.at(-1)!.header.synced, header.sequence);
    await flipBit(path, (header.position + 3) * blockBytes + 100);
    await assert.rejects(startBare({ ...options, epoch: 2 }), /the engine ended/);
    await flipBit(path, (header.position + 3) * blockBytes + 100);
    const whole = await startBare({ ...options, epoch: 3 });
    await whole.stop();
  } finally {
    await Deno.remove(directory, { recursive: true });
  }
});
