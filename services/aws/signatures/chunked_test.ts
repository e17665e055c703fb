import assert from "node:assert/strict";
import { createHash } from "node:crypto";
import {
  AwsChunkedDecoder,
  type ChunkedMode,
  chunkedMode,
  type ChunkedOptions,
  chunkSignature,
  type ChunkSigning,
  trailerSignature,
} from "./chunked.ts";
import { AwsError } from "../errors.ts";
import { deriveSigningKey } from "./sigv4.ts";
import { seeded } from "../../../tests/kit/random.ts";

const scope = {
  access_key_id: "AKIAIOSFODNN7EXAMPLE",
  date: "20130524",
  region: "us-east-1",
  service: "s3",
};
const signingFrom = (signature: string): ChunkSigning => ({
  signing_key: deriveSigningKey("wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY", scope),
  scope,
  signature,
  amz_date: "20130524T000000Z",
});
const bytesOf = (text: string) => new TextEncoder().encode(text);
const sha256 = (data: string | Uint8Array) => createHash("sha256").update(data).digest("hex");
const mode = (name: string): ChunkedMode => chunkedMode(name)!;
const signed = mode("STREAMING-AWS4-HMAC-SHA256-PAYLOAD");
const signedTrailer = mode("STREAMING-AWS4-HMAC-SHA256-PAYLOAD-TRAILER");
const unsigned = mode("STREAMING-UNSIGNED-PAYLOAD-TRAILER");

/** The upload of the S3 documentation: 65 KiB of `a` in chunks of 64 KiB and 1 KiB. */
const documented =
  `10000;chunk-signature=ad80c730a21e5b8d04586a2213dd63b9a0e99e0e2307b0ade35a65485a288648\r\n${
    "a".repeat(65_536)
  }\r\n400;chunk-signature=0055627c9e194cb4542bae2aa5492e3c1575bbb81b612b7d234b86a503ef5497\r\n${
    "a".repeat(1_024)
  }\r\n0;chunk-signature=b6c6ea8a5354eaf15b3cb7646744f4275b71ea724fed81ceb9323e279d449df9\r\n\r\n`;
const documentedSeed = "4f232c4386841ef735655705268965c44a0e4690baa4adea153f7db9fa80a0a9";

/** The same with a trailing checksum, also from the S3 documentation. */
const trailerSeed = "106e2a8a18243abcf37539882f36619c00e2dfc72633413f02d3b74544bfeb8e";
const trailerSignatures = [
  "b474d8862b1487a5145d686f57f013e54db672cee1c953b3010fb58501ef5aa2",
  "1c1344b170168f8e65b41376b44b20fe354e373826ccbbe2c1d40a8cae51e5c7",
  "2ca2aba2005185cf7159c6277faf83795951dd77a3a99e6e65d5c9f85863f992",
];
const documentedTrailerSignature =
  "d81f82fc3505edab99d459891051a732e8730629a2e4a59689829ca17fe2e435";

function decode(body: Uint8Array, options: ChunkedOptions, slices: (left: number) => number) {
  const decoder = new AwsChunkedDecoder(options);
  const parts: Uint8Array[] = [];
  for (let at = 0; at < body.length;) {
    const end = at + Math.max(1, slices(body.length - at));
    parts.push(...decoder.push(body.subarray(at, end)));
    at = end;
  }
  const trailers = decoder.finish();
  return { payload: Buffer.concat(parts), trailers };
}

function refusal(body: string | Uint8Array, options: ChunkedOptions): string {
  const bytes = typeof body === "string" ? bytesOf(body) : body;
  try {
    decode(bytes, options, (left) => left);
  } catch (error) {
    if (error instanceof AwsError) return error.code;
    throw error;
  }
  return "accepted";
}

Deno.test("the signed upload of the S3 documentation decodes in slices of any size", () => {
  const body = bytesOf(documented);
  for (const size of [1, 7, 1_000, 65_536, 1_000_000]) {
    const { payload } = decode(body, {
      mode: signed,
      signing: signingFrom(documentedSeed),
      decoded_length: 66_560,
    }, () => size);
    assert.equal(payload.length, 66_560);
    assert.ok(payload.every((byte) => byte === 0x61));
  }
});

Deno.test("the documented signatures of a signed trailer are ours too", () => {
  const signing = signingFrom(trailerSeed);
  const data = ["a".repeat(65_536), "a".repeat(1_024), ""];
  let previous = trailerSeed;
  let body = "";
  for (const [at, chunk] of data.entries()) {
    previous = chunkSignature(signing, previous, sha256(chunk));
    assert.equal(previous, trailerSignatures[at]);
    body += `${chunk.length.toString(16)};chunk-signature=${previous}\r\n${chunk}`;
    if (chunk !== "") body += "\r\n";
  }
  const own = trailerSignature(signing, previous, sha256("x-amz-checksum-crc32c:sOO8/Q==\n"));
  assert.equal(own, documentedTrailerSignature);
  body += `x-amz-checksum-crc32c:sOO8/Q==\r\nx-amz-trailer-signature:${own}\r\n\r\n`;
  const options = { mode: signedTrailer, signing, trailer_names: ["x-amz-checksum-crc32c"] };
  const { trailers } = decode(bytesOf(body), options, () => 333);
  assert.deepEqual([...trailers], [["x-amz-checksum-crc32c", "sOO8/Q=="]]);

  for (
    const [broken, code] of [
      [body.replace("sOO8", "sOO9"), "SignatureDoesNotMatch"],
      [body.replace(/x-amz-trailer-signature:.*\r\n/, ""), "MalformedTrailerError"],
      [body.replace("x-amz-checksum-crc32c:", "x-amz-checksum-sha1:"), "MalformedTrailerError"],
      [body.slice(0, -2), "IncompleteBody"],
      [body + "x", "IncompleteBody"],
    ] as const
  ) assert.equal(refusal(broken, options), code);
});

Deno.test("one changed byte anywhere in a signed body is refused", () => {
  const options = { mode: signed, signing: signingFrom(documentedSeed), decoded_length: 66_560 };
  const step = 997;
  for (let at = 0; at < documented.length; at += step) {
    const body = bytesOf(documented);
    body[at] = (body[at] ?? 0) ^ 1;
    assert.notEqual(refusal(body, options), "accepted", `byte ${at}`);
  }
  assert.equal(refusal(documented.replace("a", "b"), options), "IncompleteBody");
});

Deno.test("payload comes out as views of what was pushed, without copies", () => {
  const decoder = new AwsChunkedDecoder({ mode: unsigned });
  const long = "h".repeat(8_192);
  const pushed = bytesOf(`2000\r\n${long}\r\n6\r\n world\r\n0\r\n\r\n`);
  const parts = decoder.push(pushed);
  assert.equal(parts.map((part) => new TextDecoder().decode(part)).join("|"), `${long}| world`);
  for (const part of parts) assert.equal(part.buffer, pushed.buffer);
  assert.equal(decoder.finish().size, 0);
  assert.equal(decoder.received_bytes, 8_198);
});

Deno.test("a checksum trailer of an unsigned body is handed out", () => {
  const { payload, trailers } = decode(
    bytesOf("5\r\nhello\r\n0\r\nX-Amz-Checksum-Crc32: NhCmhg== \r\n\r\n"),
    { mode: unsigned, decoded_length: 5, trailer_names: ["x-amz-checksum-crc32"] },
    () => 3,
  );
  assert.equal(payload.toString(), "hello");
  assert.equal(trailers.get("x-amz-checksum-crc32"), "NhCmhg==");
});

Deno.test("each malformed body has its own error and nothing after it is accepted", () => {
  const options: ChunkedOptions = { mode: unsigned, decoded_length: 5, trailer_names: [] };
  for (
    const [body, code] of [
      ["5\r\nhello\r\n0\r\n\r\n", "accepted"],
      ["", "IncompleteBody"],
      ["5\r\nhel", "IncompleteBody"],
      ["5\r\nhello\r\n", "IncompleteBody"],
      ["4\r\nhell\r\n0\r\n\r\n", "IncompleteBody"],
      ["6\r\nhello!\r\n0\r\n\r\n", "IncompleteBody"],
      ["ffffffffffff\r\n", "IncompleteBody"],
      ["-5\r\nhello\r\n0\r\n\r\n", "IncompleteBody"],
      ["0x5\r\nhello\r\n0\r\n\r\n", "IncompleteBody"],
      ["fffffffffffff\r\n", "IncompleteBody"],
      ["5;chunk-signature=" + "0".repeat(64) + "\r\nhello\r\n0\r\n\r\n", "IncompleteBody"],
      ["5\nhello\r\n0\r\n\r\n", "IncompleteBody"],
      ["5\r\nhelloX\r\n0\r\n\r\n", "IncompleteBody"],
      ["5".padEnd(2_000, " "), "IncompleteBody"],
      ["5\r\nhello\r\n0\r\nx-other: 1\r\n\r\n", "MalformedTrailerError"],
      ["5\r\nhello\r\n0\r\n\r\n5\r\n", "IncompleteBody"],
    ] as const
  ) assert.equal(refusal(body, options), code, JSON.stringify(body.slice(0, 60)));

  const decoder = new AwsChunkedDecoder(options);
  assert.throws(() => decoder.push(bytesOf("zz\r\n")), { code: "IncompleteBody" });
  assert.throws(() => decoder.push(bytesOf("5\r\nhello\r\n0\r\n\r\n")), AwsError);
  assert.throws(() => decoder.finish(), AwsError);
});

Deno.test("bodies of random chunks decode to what was put in, and no noise crashes the decoder", () =>
  seeded((source) => {
    const random = (below: number) => source.below(below);
    for (let round = 0; round < 100; round++) {
      const signing = signingFrom(sha256(String(round)));
      const chunks = Array.from({ length: random(6) }, (_, at) => {
        const chunk = new Uint8Array((at === 0 ? 1 : 8_192) + random(3_000));
        for (let at = 0; at < chunk.length; at++) chunk[at] = random(256);
        return chunk;
      }).reverse();
      let previous = signing.signature;
      const parts: Uint8Array[] = [];
      for (const chunk of [...chunks, new Uint8Array(0)]) {
        previous = chunkSignature(signing, previous, sha256(chunk));
        parts.push(bytesOf(`${chunk.length.toString(16)};chunk-signature=${previous}\r\n`));
        parts.push(chunk, bytesOf("\r\n"));
      }
      const body = new Uint8Array(Buffer.concat(parts));
      const options = { mode: signed, signing };
      const { payload } = decode(body, options, () => random(500));
      assert.deepEqual(payload, Buffer.concat(chunks));

      const noisy = body.slice();
      for (let n = 0; n < 3; n++) noisy[random(noisy.length)] = random(256);
      if (!Buffer.from(noisy).equals(body)) refusal(noisy, options);
    }
  }));
