/** What is sealed as it comes opens to the same bytes, whole and by ranges, and the digests see all of it. */
import assert from "node:assert/strict";
import { AesGcm, NotAuthentic } from "../../../ffi/libcrypto_gcm.ts";
import { Digest } from "../../../ffi/libcrypto.ts";
import { reusedAfter } from "../extents/piece_memory.ts";
import { copied } from "./body_source.ts";
import { openBody, sealBody, sealedBytes, type SealedSource } from "./sealed_body.ts";
import { bytesOf } from "../test_store.ts";

type Bytes = Uint8Array<ArrayBuffer>;

const pieceBytes = 40_000;

async function* inChunks(bytes: Bytes, length: number): AsyncGenerator<Bytes> {
  for (let at = 0; at < bytes.length; at += length) {
    yield await Promise.resolve(bytes.slice(at, at + length));
  }
}

/** As the pieces are valid only until the next is asked for. */
async function gathered(pieces: AsyncIterable<Bytes>): Promise<Bytes> {
  const parts: Bytes[] = [];
  for await (const piece of pieces) parts.push(piece.slice());
  return new Uint8Array(Buffer.concat(parts));
}

/** Gathers what is sealed; its memory comes in parts of a length that no piece has. */
function gathering() {
  const parts: Bytes[] = [];
  return {
    room: (wanted: number) =>
      Promise.resolve(new Uint8Array(Math.min(wanted, 9_973))).then((one) => {
        parts.push(one);
        return one;
      }),
    filled: () => Promise.resolve(),
    all: () => new Uint8Array(Buffer.concat(parts)),
  };
}

async function sealed(plain: Bytes, expected?: number, chunk = 7_001): Promise<Bytes> {
  using cipher = new AesGcm(bytesOf(1, 32));
  const sink = gathering();
  const as = { cipher, pieceBytes };
  await sealBody(as, copied(inChunks(plain, chunk)), [], sink, () => {}, expected);
  return sink.all();
}

/** What is given back is overwritten at once; `sound` is what the checked way finds. */
function sourceOf(stored: Bytes, sound = stored): SealedSource & { given_bytes: number } {
  const source = {
    given_bytes: 0,
    read: (from: number, to: number) => inChunks(stored.subarray(from, to), 33_333),
    give: (bytes: Bytes) => {
      source.given_bytes += bytes.length;
      bytes.fill(255);
    },
    readChecked: (from: number, to: number) => inChunks(sound.subarray(from, to), 21_000),
  };
  return source;
}

Deno.test("a body of any length, expected, unknown or longer than was said, opens to what it was", async () => {
  using cipher = new AesGcm(bytesOf(1, 32));
  for (const size of [0, 1, 39_999, 40_000, 40_001, 400_123]) {
    const plain = bytesOf(size, size);
    for (const expected of [undefined, size, 0, 10, 1e9]) {
      const stored = await sealed(plain, expected);
      assert.equal(stored.length, sealedBytes(size, pieceBytes));
      for (const [from, to] of [[0, size], [size >> 1, size], [1, size - 1]] as const) {
        if (to < from) continue;
        const range = { size, from, to };
        const memory = reusedAfter(2 * pieceBytes);
        const opened = openBody({ cipher, pieceBytes }, range, sourceOf(stored), memory);
        assert.deepEqual(await gathered(opened), plain.subarray(from, to));
      }
    }
  }
});

Deno.test("digests see every byte in order, however far they are behind", async () => {
  using cipher = new AesGcm(bytesOf(1, 32));
  const plain = bytesOf(5, 1_000_003);
  for (const chunk of [5_000, 100_000, 1_000_003]) {
    using digest = new Digest("md5");
    let count = 0;
    const source = copied(inChunks(plain, chunk));
    await sealBody({ cipher, pieceBytes }, source, [digest], gathering(), (bytes) => {
      count += bytes;
    });
    assert.equal(count, plain.length);
    using whole = new Digest("md5");
    await whole.update(plain);
    assert.deepEqual(await digest.finish(), await whole.finish());
  }
});

Deno.test("one altered bit in any piece is an error, and no byte of that piece comes out", async () => {
  using cipher = new AesGcm(bytesOf(1, 32));
  const size = 3 * pieceBytes;
  const plain = bytesOf(9, size);
  for (const at of [0, pieceBytes + 15, pieceBytes + 16, 2 * pieceBytes + 40]) {
    const stored = await sealed(plain);
    stored[at] = (stored[at] ?? 0) ^ 1;
    const sound = Math.floor(at / (pieceBytes + 16)) * pieceBytes;
    let read = 0;
    await assert.rejects(async () => {
      const range = { size, from: 0, to: size };
      for await (const piece of openBody({ cipher, pieceBytes }, range, sourceOf(stored))) {
        assert.deepEqual(piece, plain.subarray(read, read + piece.length));
        read += piece.length;
      }
    }, NotAuthentic);
    assert.ok(read <= sound, `${read} bytes came out before byte ${at}`);
  }
});

Deno.test("a piece that does not open is read again in the checked way, and only that", async () => {
  using cipher = new AesGcm(bytesOf(1, 32));
  const size = 5 * pieceBytes + 9;
  const plain = bytesOf(4, size);
  const sound = await sealed(plain);
  const stored = sound.slice();
  stored[2 * (pieceBytes + 16) + 30] = (stored[2 * (pieceBytes + 16) + 30] ?? 0) ^ 4;
  const source = sourceOf(stored, sound);
  const asked: number[] = [];
  const watched: SealedSource = {
    read: source.read,
    give: source.give,
    readChecked: (from, to) => {
      asked.push(from, to);
      return source.readChecked(from, to);
    },
  };
  const opened = openBody({ cipher, pieceBytes }, { size, from: 0, to: size }, watched);
  assert.deepEqual(await gathered(opened), plain);
  assert.deepEqual(asked, [2 * (pieceBytes + 16), 3 * (pieceBytes + 16)]);
  assert.equal(source.given_bytes, stored.length, "all that was lent was given back");
});

Deno.test("a piece stays as it is until enough was given out after it, also where it was opened in place", async () => {
  using cipher = new AesGcm(bytesOf(1, 32));
  const size = 20 * pieceBytes + 5;
  const plain = bytesOf(3, size);
  const stored = await sealed(plain);
  for (const [from, to] of [[0, size], [50_001, size - 70_001]] as const) {
    const distance = 3 * pieceBytes;
    const source = sourceOf(stored);
    const held: { readonly at: number; readonly piece: Bytes }[] = [];
    let at = from;
    const range = { size, from, to };
    for await (
      const piece of openBody({ cipher, pieceBytes }, range, source, reusedAfter(distance))
    ) {
      held.push({ at, piece });
      at += piece.length;
      for (const one of held) {
        if (at - one.at - one.piece.length > distance) continue;
        const was = plain.subarray(one.at, one.at + one.piece.length);
        assert.equal(
          Buffer.compare(one.piece, was),
          0,
          `what was given at ${one.at} has changed by ${at}`,
        );
      }
    }
    assert.equal(at, to);
    const read = Math.ceil(to / pieceBytes) - Math.floor(from / pieceBytes);
    const lent = Math.min(stored.length, read * (pieceBytes + 16));
    assert.equal(source.given_bytes, lent, "all that was lent was given back");
  }
});

Deno.test("a piece that is opened in place and is not sound is read again", async () => {
  using cipher = new AesGcm(bytesOf(1, 32));
  const size = 12 * pieceBytes;
  const plain = bytesOf(6, size);
  const sound = await sealed(plain);
  const stored = sound.slice();
  stored[pieceBytes + 99] = (stored[pieceBytes + 99] ?? 0) ^ 8;
  const range = { size, from: 0, to: size };
  const source = sourceOf(stored, sound);
  const opened = openBody({ cipher, pieceBytes }, range, source, reusedAfter(pieceBytes));
  assert.deepEqual(await gathered(opened), plain);
});

Deno.test("memory is used again after the distance and not before", () => {
  const memory = reusedAfter(100);
  const first = memory(60).buffer;
  assert.notEqual(memory(60).buffer, first);
  assert.notEqual(memory(30).buffer, first, "60 bytes were asked for since");
  assert.notEqual(memory(60).buffer, first, "90 bytes were asked for since");
  assert.equal(memory(60).buffer, first);
  assert.notEqual(memory(61).buffer, first);
});
