/**
 * The NBD door against bytes that a seed makes up: negotiations and requests that are nearly right, cut off at
 * any place, with lying lengths, unknown options, flags and commands, offsets at every border, sockets closed
 * for one direction. Whatever comes, the engine lives, and what another client has written is what it reads.
 */
import assert from "node:assert/strict";
import { joined } from "../../services/aws/bytes.ts";
import { type Random, seeded } from "../kit/random.ts";
import { startBare } from "./bare_engine.ts";
import { NbdClient, writeAll } from "./nbd_client.ts";

const size = 16 << 20;
/** The witness's own block, which no request of the fuzz names. */
const ownFirst = size - 65_536;

const borders = [0, 1, 511, 4095, 4096, 4097, size - 1, size, size + 1, 2 ** 31, 2 ** 32 - 1];

function option(random: Random): Uint8Array {
  const data = [
    () => new Uint8Array(0),
    () => named("vol-bare", [0, 0]),
    () => named("vol-bare", [0, 1, 0, 3]),
    () => named("vol-bare", [0, 0, 0, 1], named("base:allocation", [])),
    () => named("", [0, 0, 0, 2], named("base:", [])),
    () => named("another", [0, 0]),
    () => Uint8Array.from({ length: random.below(200) }, () => random.below(256)),
  ][random.below(7)]?.() ?? new Uint8Array(0);
  const bytes = new Uint8Array(16 + data.length);
  const view = new DataView(bytes.buffer);
  view.setBigUint64(0, 0x49484156454f5054n);
  view.setUint32(8, random.below(10) === 0 ? random.below(2 ** 32) : random.below(13));
  view.setUint32(12, random.below(12) === 0 ? random.below(20_000) : data.length);
  bytes.set(data, 16);
  return bytes;
}

function named(
  name: string,
  after: readonly number[],
  last = new Uint8Array(0),
): Uint8Array<ArrayBuffer> {
  const length = new Uint8Array(4);
  new DataView(length.buffer).setUint32(0, name.length);
  return joined([length, new TextEncoder().encode(name), new Uint8Array(after), last]);
}

function request(random: Random): Uint8Array {
  const type = random.below(12) === 0 ? random.below(65_536) : random.below(9);
  const isOften = random.below(3) > 0;
  let length = isOften ? random.below(100_000) : borders[random.below(borders.length)] ?? 0;
  let offset = isOften ? random.below(ownFirst) : borders[random.below(borders.length)] ?? 0;
  // Whatever might change something stays away from the witness's block.
  if (offset < size && offset + length > ownFirst && (type === 1 || type === 4 || type === 6)) {
    offset = random.below(ownFirst - 100_000);
    length = Math.min(length, 100_000);
  }
  const payload = type === 1 && length <= 100_000
    ? new Uint8Array(random.below(10) === 0 ? random.below(length + 1) : length).fill(0x5a)
    : new Uint8Array(0);
  const bytes = new Uint8Array(28 + payload.length);
  const view = new DataView(bytes.buffer);
  view.setUint32(0, random.below(60) === 0 ? random.below(2 ** 32) : 0x25609513);
  view.setUint16(4, random.below(4) === 0 ? random.below(65_536) : random.below(32));
  view.setUint16(6, type);
  view.setBigUint64(8, BigInt(random.below(2 ** 32)));
  view.setBigUint64(16, BigInt(offset) + (random.below(40) === 0 ? 2n ** 63n : 0n));
  view.setUint32(24, length);
  bytes.set(payload, 28);
  return bytes;
}

/** All that one client sends. */
function conversation(random: Random): Uint8Array {
  const parts: Uint8Array[] = [new Uint8Array([0, 0, 0, random.below(15) === 0 ? 7 : 3])];
  for (let i = random.below(6); i > 0; i--) parts.push(option(random));
  if (random.below(5) > 0) {
    const structured = new Uint8Array(16);
    new DataView(structured.buffer).setBigUint64(0, 0x49484156454f5054n);
    structured[11] = 8;
    if (random.below(2) === 0) parts.push(structured);
    const go = named("vol-bare", [0, 0]);
    const head = structured.slice();
    head[11] = 7;
    new DataView(head.buffer).setUint32(12, go.length);
    parts.push(head, go);
    for (let i = random.below(40); i > 0; i--) parts.push(request(random));
  }
  const bytes = joined(parts);
  return random.below(4) === 0 ? bytes.subarray(0, random.below(bytes.length + 1)) : bytes;
}

async function converse(socket: string, random: Random): Promise<void> {
  const connection = await Deno.connect({ transport: "unix", path: socket });
  const bytes = conversation(random);
  const hangsUp = random.below(3) === 0;
  const reading = (async () => {
    const buffer = new Uint8Array(65_536);
    while (await connection.read(buffer) !== null);
  })();
  try {
    for (let at = 0; at < bytes.length;) {
      const end = random.below(2) === 0 ? bytes.length : at + 1 + random.below(5000);
      await writeAll(connection, bytes.subarray(at, end));
      at = end;
    }
    // Half closed: what was asked is answered, then the engine hangs up as well.
    if (!hangsUp) {
      await connection.closeWrite();
      await reading;
    }
  } catch (error) {
    // It may hang up while something is on its way to it; that is its right.
    if (!isEnd(error)) throw error;
  } finally {
    connection.close();
    await reading.catch((error) => {
      if (!isEnd(error)) throw error;
    });
  }
}

const isEnd = (error: unknown) =>
  error instanceof Deno.errors.BrokenPipe || error instanceof Deno.errors.ConnectionReset ||
  error instanceof Deno.errors.NotConnected || error instanceof Deno.errors.BadResource ||
  error instanceof Deno.errors.Interrupted;

Deno.test("no bytes at the NBD door end the engine or reach another client's data", async () => {
  await seeded(async (random) => {
    const directory = await Deno.makeTempDir({ prefix: "mulga-fuzz-", dir: "/var/tmp" });
    const socket = `${directory}/nbd`;
    const engine = await startBare({ directory, socket, sizeBytes: size, epoch: 1 });
    try {
      for (let round = 0; round < 80; round++) {
        await using witness = await NbdClient.connect(socket, "vol-bare");
        const block = new Uint8Array(4096).fill(1 + round);
        await witness.write(ownFirst, block);
        await Promise.all(Array.from({ length: 6 }, () => converse(socket, random)));
        assert.deepEqual(await witness.read(ownFirst, 4096), block);
      }
    } finally {
      await engine.kill();
      await Deno.remove(directory, { recursive: true });
    }
  });
});
