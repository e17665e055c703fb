/** Uploads in parts as they are refused at AWS: by which code, in which words, and what is let through. */
import assert from "node:assert/strict";
import { createHash } from "node:crypto";
import { XxHash } from "../../ffi/libxxhash.ts";
import { type Came, type OpenDoor, openDoor } from "./open_door.ts";

const told = ({ text }: Came, name: string) =>
  new RegExp(`<${name}>([^<]*)</${name}>`).exec(text)?.[1]?.replaceAll("&quot;", '"');

/** Of the byte that every part is, by AWS's names. */
const sums = {
  CRC32: "jNwWgw==",
  SHA1: "EfatjsUqKYSrqv18O1FlA3hcIHI=",
  SHA256: "LXEWQrcmsEQBYnyp+6wy9chTD7GQPMTbAiWHF5IaSIE=",
  CRC64NVME: "Lb1nAmRU5LE=",
} as const;
const sum = {
  md5: createHash("md5").update("x").digest("base64"),
  sha512: createHash("sha512").update("x").digest("base64"),
};
const xxHashNames = { xxhash64: "xxh64", xxhash3: "xxh3", xxhash128: "xxh128" } as const;
const sha512 = { "x-amz-checksum-sha512": sum.sha512 };
const wrong = "AAAAAA==";
const etag = "9dd4e461268c8034f5c8564e155c67a6";

interface Upload {
  readonly part: Came;
  complete(headers?: Record<string, string>, inPart?: string): Promise<Came>;
}

async function withUpload(
  begun: Record<string, string>,
  sent: Record<string, string>,
  work: (upload: Upload, door: OpenDoor) => Promise<void>,
): Promise<void> {
  await using door = await openDoor();
  await door.say("PUT /bucket");
  const { text } = await door.say("POST /bucket/key?uploads", begun);
  const id = encodeURIComponent(/<UploadId>([^<]*)</.exec(text)?.[1] ?? "");
  const part = await door.say(`PUT /bucket/key?partNumber=1&uploadId=${id}`, sent, "x");
  assert.equal(part.status, 200, part.text);
  await work({
    part,
    complete: (headers = {}, inPart = "") =>
      door.say(
        `POST /bucket/key?uploadId=${id}`,
        headers,
        `<CompleteMultipartUpload><Part><PartNumber>1</PartNumber><ETag>${etag}</ETag>${inPart}</Part></CompleteMultipartUpload>`,
      ),
  }, door);
}

const refused = (came: Came, code: string, message: string) => {
  assert.equal(told(came, "Code"), code, came.text);
  assert.equal(told(came, "Message"), message);
  assert.equal(came.status, 400);
};

const inPart = `<ChecksumCRC32>${sums.CRC32}</ChecksumCRC32>`;
const composite = { "x-amz-checksum-algorithm": "crc32", "x-amz-checksum-type": "composite" };

Deno.test("uploads on the wire: the checksum of the whole is one, well formed, and with its number of parts", () =>
  withUpload(composite, { "x-amz-checksum-crc32": sums.CRC32 }, async ({ complete }) => {
    const invalid = "Value for x-amz-checksum-crc32 header is invalid.";
    for (
      const value of [
        "",
        "abc",
        sums.SHA1,
        "jNwWgw==-smth",
        "jNwWgw==-1a",
        "jNwWgw==-1-2",
        "jNwWgw==--1",
      ]
    ) {
      refused(await complete({ "x-amz-checksum-crc32": value }, inPart), "InvalidRequest", invalid);
    }
    refused(
      await complete({ "x-amz-checksum-crc32": wrong, "x-amz-checksum-sha1": sums.SHA1 }, inPart),
      "InvalidRequest",
      "Expecting a single x-amz-checksum- header. Multiple checksum Types are not allowed.",
    );
    const bad = "The CRC32 you specified did not match the calculated checksum.";
    for (const value of [wrong, `${wrong}-1`, "tTDE/w==", "tTDE/w==-2"]) {
      refused(await complete({ "x-amz-checksum-crc32": value }, inPart), "BadDigest", bad);
    }
    const done = await complete({}, inPart);
    const whole = told(done, "ChecksumCRC32") ?? "";
    assert.match(whole, /-1$/);
    assert.equal((await complete({ "x-amz-checksum-crc32": whole }, inPart)).status, 200);
  }));

Deno.test("uploads on the wire: where an upload names no algorithm, that of the whole is computed and not compared", () =>
  withUpload({}, {}, async ({ complete }) => {
    for (
      const [name, bytes] of [
        ["md5", 16],
        ["sha512", 64],
        ["xxhash64", 8],
        ["xxhash3", 8],
        ["xxhash128", 16],
      ] as const
    ) {
      refused(
        await complete({ [`x-amz-checksum-${name}`]: new Uint8Array(bytes).toBase64() }),
        "InvalidRequest",
        `Checksum Type mismatch occurred, expected checksum Type: null, actual checksum Type: ${name}`,
      );
    }
    refused(
      await complete({ "x-amz-checksum-crc64nvme": wrong }),
      "InvalidRequest",
      "Value for x-amz-checksum-crc64nvme header is invalid.",
    );
    const done = await complete({ "x-amz-checksum-crc64nvme": "AAAAAAAAAAA=" });
    assert.equal(told(done, "ChecksumCRC64NVME"), sums.CRC64NVME, done.text);
  }));

Deno.test("uploads on the wire: checksums of the whole that an upload names no algorithm for say nothing", () =>
  withUpload({}, {}, async ({ complete }) => {
    const done = await complete({ "x-amz-checksum-sha1": sums.SHA1.replace("E", "A") });
    assert.equal(done.status, 200, done.text);
    assert.equal(told(done, "ChecksumSHA1"), undefined);
  }));

Deno.test("uploads on the wire: a part that is chosen brings one checksum, well formed, of its upload's kind", () =>
  withUpload(composite, { "x-amz-checksum-crc32": sums.CRC32 }, async ({ complete }) => {
    for (
      const [elements, value] of [
        ["<ChecksumCRC32>abc</ChecksumCRC32>", "CRC32:abc;"],
        [`<ChecksumCRC32>${sums.SHA1}</ChecksumCRC32>`, `CRC32:${sums.SHA1};`],
        [
          `${inPart}<ChecksumSHA1>${sums.SHA1}</ChecksumSHA1>`,
          `CRC32:${sums.CRC32};SHA1:${sums.SHA1};`,
        ],
      ] as const
    ) {
      const came = await complete({}, elements);
      refused(
        came,
        "InvalidArgument",
        "Invalid Base64 or multiple checksums present in request",
      );
      assert.equal(told(came, "ArgumentName"), "Checksum");
      assert.equal(told(came, "ArgumentValue"), value);
    }
    refused(
      await complete({}, `<ChecksumSHA256>${sums.SHA256}</ChecksumSHA256>`),
      "BadDigest",
      "The sha256 you specified for part 1 did not match what we received.",
    );
    assert.equal(
      told(await complete({}, `<ChecksumCRC32>${wrong}</ChecksumCRC32>`), "Code"),
      "InvalidPart",
    );
    refused(
      await complete(),
      "InvalidRequest",
      "The upload was created using a crc32 checksum. The complete request must include the checksum for each part. It was missing for part 1 in the request.",
    );
  }));

Deno.test("uploads on the wire: the size that is said of the whole is a size, and the right one", () =>
  withUpload({}, {}, async ({ complete }) => {
    for (
      const [value, words] of [
        ["-1", "Value for x-amz-mp-object-size header is less than zero: '-1'"],
        ["one", "Value for x-amz-mp-object-size header is invalid: 'one'"],
        [
          "2",
          "The provided 'x-amz-mp-object-size' header value 2 does not match what was computed: 1",
        ],
      ] as const
    ) refused(await complete({ "x-amz-mp-object-size": value }), "InvalidRequest", words);
    assert.equal((await complete({ "x-amz-mp-object-size": "1" })).status, 200);
  }));

Deno.test("uploads on the wire: a part's number, and the source it is copied from, are read before its upload is sought", async () => {
  await using door = await openDoor();
  await door.say("PUT /bucket");
  for (const headers of [{}, { "x-amz-copy-source": "bucket/key" }]) {
    const came = await door.say("PUT /bucket/key?partNumber=10001&uploadId=none", headers, "");
    refused(
      came,
      "InvalidArgument",
      "Part number must be an integer between 1 and 10000, inclusive",
    );
    assert.equal(told(came, "ArgumentName"), "partNumber");
  }
  const came = await door.say("PUT /bucket/key?partNumber=1&uploadId=none", {
    "x-amz-copy-source": "/",
  });
  assert.equal(told(came, "Code"), "InvalidArgument", came.text);
  assert.equal(
    told(await door.say("PUT /bucket/key?partNumber=1&uploadId=none", {}, "x"), "Code"),
    "NoSuchUpload",
  );
});

Deno.test("uploads on the wire: a checksum's header comes once, and names what is known", async () => {
  await using door = await openDoor();
  await door.say("PUT /bucket");
  const twice = await door.ask({
    method: "PUT",
    target: "/bucket/key",
    headers: [["x-amz-checksum-crc32", sums.CRC32], ["x-amz-checksum-crc32", wrong]],
    body: new TextEncoder().encode("x"),
  });
  refused(twice, "InvalidArgument", "Only one value may be specified.");
  assert.equal(told(twice, "ArgumentName"), "x-amz-checksum-crc32");
  assert.equal(told(twice, "ArgumentValue"), wrong);
  refused(
    await door.say("PUT /bucket/key", { "x-amz-sdk-checksum-algorithm": "MD4" }, "x"),
    "InvalidRequest",
    "x-amz-sdk-checksum-algorithm specified, but no corresponding x-amz-checksum-* or x-amz-trailer headers were found.",
  );
  refused(
    await door.say("POST /bucket/key?uploads", { "x-amz-checksum-algorithm": "MD4" }),
    "InvalidRequest",
    "Checksum algorithm provided is unsupported. Please try again with any of the valid types: [CRC32, CRC32C, CRC64NVME, MD5, SHA1, SHA256, SHA512, XXHASH128, XXHASH3, XXHASH64]",
  );
});

Deno.test("uploads on the wire: attributes are asked for by name, and tell how many parts were asked for", () =>
  withUpload(composite, { "x-amz-checksum-crc32": sums.CRC32 }, async ({ complete }, { say }) => {
    assert.equal((await complete({}, inPart)).status, 200);
    for (const headers of [{}, { "x-amz-object-attributes": "" }] as Record<string, string>[]) {
      refused(
        await say("GET /bucket/key?attributes", headers),
        "InvalidRequest",
        "The x-amz-object-attributes header specifying the attributes to be retrieved is either missing or empty",
      );
    }
    const parts = { "x-amz-object-attributes": "ObjectParts" };
    const many = await say("GET /bucket/key?attributes", { ...parts, "x-amz-max-parts": "5000" });
    assert.equal(told(many, "MaxParts"), "5000");
    const none = await say("GET /bucket/key?attributes", { ...parts, "x-amz-max-parts": "0" });
    assert.equal(told(none, "IsTruncated"), "false");
    assert.equal(told(none, "NextPartNumberMarker"), "0");
    assert.equal(told(none, "PartNumber"), undefined);
  }));

Deno.test("uploads on the wire: MD5 and SHA-512 are checksums, of parts by their own sums", () =>
  withUpload({ "x-amz-checksum-algorithm": "SHA512" }, sha512, async ({ part, complete }, door) => {
    const { say } = door;
    assert.equal(part.headers.get("x-amz-checksum-sha512"), sum.sha512);
    const inPart = `<ChecksumSHA512>${sum.sha512}</ChecksumSHA512>`;
    const done = await complete({}, inPart);
    assert.equal(
      told(done, "ChecksumSHA512"),
      `${createHash("sha512").update(Uint8Array.fromBase64(sum.sha512)).digest("base64")}-1`,
    );
    assert.equal(told(done, "ChecksumType"), "COMPOSITE");
    const put = await say("PUT /bucket/other", { "x-amz-checksum-md5": sum.md5 }, "x");
    assert.equal(put.headers.get("x-amz-checksum-md5"), sum.md5, put.text);
    refused(
      await say("PUT /bucket/other", { "x-amz-checksum-md5": sum.md5 }, "y"),
      "BadDigest",
      "The MD5 you specified did not match the calculated checksum.",
    );
    const head = await say("HEAD /bucket/other", { "x-amz-checksum-mode": "ENABLED" });
    assert.equal(head.headers.get("x-amz-checksum-md5"), sum.md5);
    refused(
      await say("POST /bucket/key?uploads", {
        "x-amz-checksum-algorithm": "MD5",
        "x-amz-checksum-type": "FULL_OBJECT",
      }),
      "InvalidRequest",
      "The FULL_OBJECT checksum type cannot be used with the md5 checksum algorithm.",
    );
    refused(
      await say("PUT /bucket/other", { "x-amz-checksum-crc": "AAAA" }, "x"),
      "InvalidRequest",
      "The algorithm type you specified in x-amz-checksum- header is invalid.",
    );
  }));

Deno.test("uploads on the wire: xxHashes are checksums, of parts by their own sums", async () => {
  // Of "abc", as the authors of xxHash publish them.
  const all = [
    ["xxhash64", "RLws9a13CZk="],
    ["xxhash3", "eK9flIkvOVA="],
    ["xxhash128", "BrBatnM6YYV4r1+UiS85UA=="],
  ] as const;
  await using door = await openDoor();
  const { say } = door;
  await say("PUT /bucket");
  for (const [name, value] of all) {
    const header = `x-amz-checksum-${name}`;
    const put = await say("PUT /bucket/key", { [header]: value }, "abc");
    assert.equal(put.headers.get(header), value, put.text);
    const head = await say("HEAD /bucket/key", { "x-amz-checksum-mode": "ENABLED" });
    assert.equal(head.headers.get(header), value);
    assert.equal(head.headers.get("x-amz-checksum-type"), "FULL_OBJECT");
    const asked = await say("GET /bucket/key?attributes", {
      "x-amz-object-attributes": "Checksum",
    });
    assert.equal(told(asked, `Checksum${name.toUpperCase()}`), value, asked.text);
    refused(
      await say("PUT /bucket/key", { [header]: value }, "abd"),
      "BadDigest",
      `The ${name.toUpperCase()} you specified did not match the calculated checksum.`,
    );
    const asks = { "x-amz-checksum-algorithm": name.toUpperCase() };
    refused(
      await say("POST /bucket/parts?uploads", { ...asks, "x-amz-checksum-type": "FULL_OBJECT" }),
      "InvalidRequest",
      `The FULL_OBJECT checksum type cannot be used with the ${name} checksum algorithm.`,
    );
    const copy = await say("PUT /bucket/copy", { ...asks, "x-amz-copy-source": "/bucket/key" });
    assert.equal(told(copy, `Checksum${name.toUpperCase()}`), value, copy.text);
    const upload = told(await say("POST /bucket/parts?uploads", asks), "UploadId") ?? "";
    const target = `/bucket/parts?uploadId=${upload}`;
    await say(`PUT ${target}&partNumber=1`, { [header]: value }, "abc");
    const done = await say(
      `POST ${target}`,
      {},
      `<CompleteMultipartUpload><Part><PartNumber>1</PartNumber><ETag>${
        createHash("md5").update("abc").digest("hex")
      }</ETag><Checksum${name.toUpperCase()}>${value}</Checksum${name.toUpperCase()}></Part></CompleteMultipartUpload>`,
    );
    using hash = new XxHash(xxHashNames[name]);
    hash.update(Uint8Array.fromBase64(value));
    assert.equal(
      told(done, `Checksum${name.toUpperCase()}`),
      `${hash.finish().toBase64()}-1`,
      done.text,
    );
    assert.equal(told(done, "ChecksumType"), "COMPOSITE");
  }
});

Deno.test("uploads on the wire: a later kind of checksum is no part's own where the upload named none", () =>
  withUpload({}, sha512, async ({ part, complete }) => {
    assert.equal(part.headers.get("x-amz-checksum-sha512"), sum.sha512);
    const inPart = `<ChecksumSHA512>${sum.sha512}</ChecksumSHA512>`;
    assert.equal(told(await complete({}, inPart), "Code"), "InvalidPart");
    assert.equal(told(await complete(), "ChecksumCRC64NVME"), sums.CRC64NVME);
  }));

Deno.test("uploads on the wire: who completes twice at once hears the same twice, and nobody both completes and aborts", () =>
  withUpload({}, {}, async ({ complete }, { say }) => {
    const [first, second] = await Promise.all([complete(), complete()]);
    assert.equal(first.status, 200, first.text);
    assert.equal(second.text, first.text);
    for (let round = 0; round < 10; round++) {
      const { text } = await say("POST /bucket/either?uploads");
      const target = `/bucket/either?uploadId=${
        encodeURIComponent(/<UploadId>([^<]*)</.exec(text)?.[1] ?? "")
      }`;
      await say(`PUT ${target}&partNumber=1`, {}, "x");
      const completing = () =>
        say(
          `POST ${target}`,
          {},
          `<CompleteMultipartUpload><Part><PartNumber>1</PartNumber><ETag>${etag}</ETag></Part></CompleteMultipartUpload>`,
        );
      const aborting = () => say(`DELETE ${target}`);
      const [ended, other] = await Promise.all(
        round % 2 === 0 ? [completing(), aborting()] : [aborting(), completing()],
      );
      assert.deepEqual(
        [ended.status, other.status].filter((status) => status !== 404).length,
        1,
        `${ended.text} ${other.text}`,
      );
      const completed = ended.status === 200 || other.status === 200;
      assert.equal((await say("GET /bucket/either")).status, completed ? 200 : 404);
      await say("DELETE /bucket/either");
    }
  }));
