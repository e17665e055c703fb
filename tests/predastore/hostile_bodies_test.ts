/**
 * Random `aws-chunked` bodies over TLS, most of them wrong somewhere: in their framing, signatures, trailers or lengths.
 * What is accepted is stored as it was meant, what is refused leaves what was there, and none makes a fault of ours of it.
 */
import { CreateBucketCommand } from "@aws-sdk/client-s3";
import assert from "node:assert/strict";
import { createHash } from "node:crypto";
import { crc32 } from "node:zlib";
import { startPredastore } from "../kit/predastore.ts";
import { Random, testSeed } from "../kit/random.ts";
import { ChunkedClient, type ChunkedPut, forms } from "./chunked_bodies.ts";
import { content, keptAlive, same } from "./steps.ts";

const requests = Number(Deno.env.get("REQUESTS") ?? 300);
const lanes = 8;
const seed = testSeed();

type Bytes = Uint8Array<ArrayBuffer>;

const sums: Readonly<Record<string, (bytes: Bytes) => string>> = {
  "x-amz-checksum-crc32": (bytes) => {
    const sum = new DataView(new ArrayBuffer(4));
    sum.setUint32(0, crc32(bytes));
    return new Uint8Array(sum.buffer).toBase64();
  },
  "x-amz-checksum-sha256": (bytes) => createHash("sha256").update(bytes).digest("base64"),
};

function bytes(random: Random, length: number): Bytes {
  const made = new Uint8Array(length);
  for (let at = 0; at < length; at += 1 + random.below(64)) made[at] = random.below(256);
  return made;
}

/** Chunks that are long enough, and now and then one that is not. */
function chunks(random: Random): Bytes[] {
  const made = Array.from(
    { length: random.below(4) },
    () => bytes(random, (random.below(8) === 0 ? 1 : 8_192) + random.below(40_000)),
  );
  if (random.below(2) === 0) made.push(bytes(random, 1 + random.below(9_000)));
  return made;
}

const pieces = [
  "\r\n",
  "0\r\n\r\n",
  ";chunk-signature=",
  "x-amz-checksum-crc32:",
  "\0",
  "ffffffff",
];

/** Some bytes of it are others, twice, in another place or gone. */
function spoil(random: Random): (body: Bytes) => Bytes {
  const kind = random.below(5);
  const [first, second] = [random.below(1 << 30), random.below(1 << 30)];
  // Framing stands at the ends of a body more often than in its middle.
  const nearEnd = random.below(2) === 0;
  const length = 1 + random.below(70);
  const piece = new TextEncoder().encode(random.pick(pieces));
  return (body) => {
    const at = nearEnd ? Math.max(0, body.length - 1 - first % 200) : first % (body.length + 1);
    const [before, after] = [body.subarray(0, at), body.subarray(at)];
    const to = second % (body.length + 1);
    const joined = (...parts: Uint8Array[]) => new Uint8Array(Buffer.concat(parts));
    switch (kind) {
      case 0: {
        const made = body.slice();
        if (at < made.length) made[at] = (made[at] ?? 0) ^ (1 << (second % 8));
        return made;
      }
      case 1:
        return joined(before, piece, after);
      case 2:
        return joined(before, after.subarray(length));
      case 3:
        return joined(before);
      default:
        return joined(before, body.subarray(to, to + length), after);
    }
  };
}

const lengths = ["0", "-1", "1e3", "99999999999999999999", "", "5368709121", "x"];
const trailerNames = ["x-amz-checksum-sha1", "x-amz-meta-a", "", "x-amz-checksum-crc32", ","];

/** Headers that do not fit the body. */
function headers(random: Random): NonNullable<ChunkedPut["headers"]> {
  switch (random.below(4)) {
    case 0:
      return { "x-amz-decoded-content-length": random.pick([...lengths, undefined]) };
    case 1:
      return { "x-amz-trailer": random.pick([...trailerNames, undefined]) };
    case 2:
      return { "content-encoding": random.pick(["gzip,aws-chunked", "gzip", undefined]) };
    default:
      return { "x-amz-checksum-crc32": random.pick(["AAAAAA==", "", "x"]) };
  }
}

function request(random: Random, target: string): ChunkedPut & { readonly whole: Bytes } {
  const parts = chunks(random);
  const whole = new Uint8Array(Buffer.concat(parts));
  const form = random.pick(Object.values(forms));
  const [name = "", sum = () => ""] = random.pick(Object.entries(sums));
  const value = random.below(12) === 0 ? random.pick(["", "x", "AAAAAA=="]) : sum(whole);
  return {
    target,
    form,
    chunks: parts,
    whole,
    ...(form === forms.signed ? {} : { trailers: [[name, value]] }),
    ...(random.below(5) === 0 ? { headers: headers(random) } : {}),
    ...(random.below(2) === 0 ? { spoil: spoil(random) } : {}),
    ...(random.below(4) === 0 ? { slices: 1 + random.below(20_000) } : {}),
  };
}

Deno.test({
  ...keptAlive,
  name:
    `hostile bodies: ${requests} random aws-chunked ones over TLS, none stored but as it was meant`,
  fn: async () => {
    console.log(`MULGA_TEST_SEED=${seed}`);
    await using test = await startPredastore();
    using client = new ChunkedClient(test);
    const s3 = test.s3();
    await s3.send(new CreateBucketCommand({ Bucket: "hostile" }));
    const counts = new Map<string, number>();
    // Several at a time, each with a key of its own: a client waits for acknowledgements more than it works.
    await Promise.all(Array.from({ length: lanes }, async (_, lane) => {
      const random = new Random(seed + lane);
      const key = `key${lane}`;
      let there: Bytes | undefined;
      for (let at = 0; at < requests / lanes; at++) {
        const { whole, ...put } = request(random, `/hostile/${key}`);
        const told = `MULGA_TEST_SEED=${seed}, lane ${lane}, request ${at}: ${put.form}, ${
          put.chunks.map(({ length }) => length)
        } ${JSON.stringify(put.headers)} ${JSON.stringify(put.trailers)}`;
        const { status, text } = await client.put(put).catch((cause) => {
          throw new Error(`dropped: ${told}`, { cause });
        });
        assert.ok(status < 500, `${status}: ${told}\n${text}`);
        const code = status === 200 ? "OK" : /<Code>([^<]*)/.exec(text)?.[1] ?? "";
        counts.set(code, (counts.get(code) ?? 0) + 1);
        if (status === 200) there = whole;
        else if (put.headers === undefined && put.spoil === undefined) {
          // Of those that are framed as they should be, only sums and short chunks are refused.
          assert.match(code, /^(BadDigest|InvalidRequest|InvalidChunkSizeError)$/, told);
        }
        if (there !== undefined && (status === 200 || random.below(8) === 0)) {
          same(await content(s3, "hostile", key), there);
        }
      }
    }));
    assert.ok(!test.process().log().includes(`"level":"error"`), test.process().log());
    assert.ok((counts.get("OK") ?? 0) > requests / 8, JSON.stringify([...counts]));
    console.log([...counts].map((one) => one.join(": ")).join(", "));
  },
});
