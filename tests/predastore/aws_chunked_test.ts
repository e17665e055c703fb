/** `aws-chunked` bodies over TLS, in each of their forms: what is right is stored, and each fault has AWS's words. */
import { CreateBucketCommand, GetObjectCommand } from "@aws-sdk/client-s3";
import assert from "node:assert/strict";
import { randomBytes } from "node:crypto";
import { elementOf } from "./answered.ts";
import { ChunkedClient, type ChunkedPut, forms } from "./chunked_bodies.ts";
import { startPredastore } from "../kit/predastore.ts";
import { content, keptAlive, same } from "./steps.ts";
import { crc32 } from "node:zlib";

const bytesOf = (text: string) => new TextEncoder().encode(text);
const noise = (length: number) => new Uint8Array(randomBytes(length));
const sumOf = (bytes: Uint8Array) => {
  const sum = new Uint8Array(4);
  new DataView(sum.buffer).setUint32(0, crc32(bytes));
  return sum.toBase64();
};

const target = "/chunked/key";
const small = bytesOf("hello");
const checksum = "x-amz-checksum-crc32";
const trailers = [[checksum, sumOf(small)]] as const;
const replaced = (from: string, to: string) => (body: Uint8Array) => {
  const text = Buffer.from(body).toString("latin1");
  assert.ok(text.includes(from), text);
  return new Uint8Array(Buffer.from(text.replace(from, to), "latin1"));
};

const incomplete = ["IncompleteBody", "The request body terminated unexpectedly"] as const;
const otherLength = [
  "IncompleteBody",
  "You did not provide the number of bytes specified by the Content-Length HTTP header",
] as const;
const noLength = [
  "MissingContentLength",
  "You must provide the Content-Length HTTP header.",
] as const;
const badTrailer = [
  "MalformedTrailerError",
  "The request contained trailing data that was not well-formed or did not conform to our published schema.",
] as const;
const badSignature = [
  "SignatureDoesNotMatch",
  "The request signature we calculated does not match the signature you provided. Check your key and signing method.",
] as const;

type Case = readonly [
  what: string,
  of: Partial<ChunkedPut>,
  status: number,
  told: readonly [code: string, message: string],
];

const spoiled = (
  what: string,
  spoil: ChunkedPut["spoil"],
  status: number,
  told: Case[3],
): Case => [what, spoil === undefined ? {} : { spoil }, status, told];

const everyForm: readonly Case[] = [
  spoiled("no body", () => new Uint8Array(), 400, incomplete),
  spoiled("cut off", (body) => body.subarray(0, 9), 400, incomplete),
  spoiled("without its last line", (body) => body.subarray(0, -2), 400, incomplete),
  spoiled("more behind its end", replaced("\r\n\r\n", "\r\n\r\nx"), 400, incomplete),
  spoiled("a size that is none", replaced("5", "z"), 400, incomplete),
  spoiled("a size in other words", replaced("5", "0x5"), 400, incomplete),
  spoiled("a chunk that is longer than its size", replaced("hello", "hello!"), 400, incomplete),
  ["a longer length", { headers: { "x-amz-decoded-content-length": "6" } }, 400, otherLength],
  ["a shorter length", { headers: { "x-amz-decoded-content-length": "4" } }, 400, otherLength],
  ["no length", { headers: { "x-amz-decoded-content-length": undefined } }, 411, noLength],
  ["a length in words", { headers: { "x-amz-decoded-content-length": "five" } }, 411, noLength],
];

const ofTrailers: readonly Case[] = [
  spoiled("another name", replaced(checksum, "x-amz-checksum-sha1"), 400, badTrailer),
  spoiled("no name", replaced(`${checksum}:`, ""), 400, badTrailer),
  [
    "announced and not there",
    { trailers: [], headers: { "x-amz-trailer": checksum } },
    400,
    badTrailer,
  ],
  [
    "a malformed value",
    { trailers: [[checksum, "abc"]] },
    400,
    ["InvalidRequest", `Value for ${checksum} trailing header is invalid.`],
  ],
  [
    "a wrong value",
    { trailers: [[checksum, "AAAAAA=="]] },
    400,
    ["BadDigest", "The CRC32 you specified did not match the calculated checksum."],
  ],
  [
    "one that is no checksum",
    { trailers: [["x-amz-meta-a", "b"]] },
    400,
    ["InvalidRequest", "The value specified in the x-amz-trailer header is not supported"],
  ],
];

const ofSignatures: readonly Case[] = [
  spoiled("other content", replaced("hello", "hellp"), 403, badSignature),
  spoiled(
    "a signature that is none",
    replaced("chunk-signature=", "chunk-signature=g"),
    400,
    incomplete,
  ),
  spoiled("no signature", replaced(";chunk-signature=", ";other="), 400, incomplete),
];

Deno.test({
  ...keptAlive,
  name: "aws-chunked: what is right is stored, and each fault has AWS's words",
  fn: async (t) => {
    await using test = await startPredastore();
    using client = new ChunkedClient(test);
    const s3 = test.s3();
    await s3.send(new CreateBucketCommand({ Bucket: "chunked" }));

    const refuses = async (put: ChunkedPut, [what, of, status, [code, message]]: Case) => {
      const answer = await client.put({ ...put, target: "/chunked/none", ...of });
      const told = `${put.form}, ${what}: ${answer.text}`;
      assert.equal(elementOf(answer.text, "Code"), code, told);
      assert.equal(elementOf(answer.text, "Message"), message, told);
      assert.equal(answer.status, status, told);
    };
    const puts = Object.values(forms).map((form): ChunkedPut => ({
      target,
      form,
      chunks: [small],
      ...(form === forms.signed ? {} : { trailers }),
    }));

    await t.step("every form is stored, in one piece and in slices", async () => {
      const chunks = [noise(8_192), noise(65_536), noise(70_000), noise(1)];
      const whole = new Uint8Array(Buffer.concat(chunks));
      for (const put of puts) {
        for (const slices of [undefined, 1_000]) {
          const answer = await client.put({
            ...put,
            chunks,
            ...(put.trailers === undefined ? {} : { trailers: [[checksum, sumOf(whole)]] }),
            ...(slices === undefined ? {} : { slices }),
          });
          assert.equal(answer.status, 200, answer.text);
          same(await content(s3, "chunked", "key"), whole);
        }
      }
      const { ContentEncoding } = await s3.send(
        new GetObjectCommand({ Bucket: "chunked", Key: "key", Range: "bytes=0-0" }),
      );
      assert.equal(ContentEncoding, undefined);
    });

    await t.step("framing and lengths", async () => {
      for (const put of puts) {
        for (const one of everyForm) await refuses(put, one);
        await refuses({ ...put, slices: 4 }, [
          "no length, in slices",
          { headers: { "x-amz-decoded-content-length": undefined } },
          411,
          noLength,
        ]);
      }
    });

    await t.step("trailers", async () => {
      for (const put of puts) {
        if (put.form !== forms.signed) { for (const one of ofTrailers) await refuses(put, one); }
      }
      const [signed] = puts;
      assert.ok(signed !== undefined);
      await refuses(signed, [
        "announced in a form that has none",
        { headers: { "x-amz-trailer": checksum } },
        400,
        badTrailer,
      ]);
    });

    await t.step("signatures of chunks and of the trailer", async () => {
      for (const put of puts) {
        if (put.form === forms.unsignedTrailer) continue;
        for (const one of ofSignatures) await refuses(put, one);
      }
      const trailer = puts.find(({ form }) => form === forms.signedTrailer);
      assert.ok(trailer !== undefined);
      await refuses(
        trailer,
        spoiled("another trailer", replaced(sumOf(small), "AAAAAA=="), 403, badSignature),
      );
      await refuses(
        trailer,
        spoiled(
          "a trailer that nobody signed",
          (body) => {
            const text = Buffer.from(body).toString("latin1");
            return new Uint8Array(
              Buffer.from(text.replace(/x-amz-trailer-signature:.*\r\n/, ""), "latin1"),
            );
          },
          400,
          badTrailer,
        ),
      );
    });

    await t.step("a chunk below 8 KiB is the last", async () => {
      for (const put of puts) {
        const chunks = [noise(8_192), noise(8_191), noise(9_000)];
        const whole = new Uint8Array(Buffer.concat(chunks));
        const answer = await client.put({
          ...put,
          chunks,
          ...(put.trailers === undefined ? {} : { trailers: [[checksum, sumOf(whole)]] }),
        });
        assert.equal(answer.status, 403, answer.text);
        assert.equal(elementOf(answer.text, "Code"), "InvalidChunkSizeError");
        assert.equal(
          elementOf(answer.text, "Message"),
          "Only the last chunk is allowed to have a size less than 8192 bytes",
        );
        assert.equal(elementOf(answer.text, "Chunk"), "3");
        assert.equal(elementOf(answer.text, "BadChunkSize"), "8191");
      }
    });

    await t.step("nothing of what was refused is there", async () => {
      await assert.rejects(
        s3.send(new GetObjectCommand({ Bucket: "chunked", Key: "none" })),
        { name: "NoSuchKey" },
      );
    });
  },
});
