/** What requests ask of encryption as it is refused at AWS: which header is wrong, and in which words. */
import assert from "node:assert/strict";
import { createHash } from "node:crypto";
import { elementOf } from "./answered.ts";
import { openDoor } from "./open_door.ts";

const sse = "x-amz-server-side-encryption";
const key = new Uint8Array(32).fill(7);
const digest = createHash("md5").update(key).digest("base64");
const customer = (
  algorithm: string | undefined,
  secret: string | undefined,
  md5: string | undefined,
  of = sse,
): Record<string, string> => ({
  ...(algorithm === undefined ? {} : { [`${of}-customer-algorithm`]: algorithm }),
  ...(secret === undefined ? {} : { [`${of}-customer-key`]: secret }),
  ...(md5 === undefined ? {} : { [`${of}-customer-key-md5`]: md5 }),
});
const whole = customer("AES256", key.toBase64(), digest);
const short = new Uint8Array(16);

type Case = readonly [
  headers: Record<string, string>,
  code: string,
  message?: string,
  elements?: Readonly<Record<string, string>>,
];

const noAlgorithm =
  "Requests specifying Server Side Encryption with Customer provided keys must provide a valid encryption algorithm.";
const byKms =
  "Server Side Encryption with AWS KMS managed key requires HTTP header x-amz-server-side-encryption : aws:kms";

const ofKeys: readonly Case[] = [
  [customer(undefined, key.toBase64(), digest), "InvalidArgument", noAlgorithm, {
    ArgumentName: sse,
    ArgumentValue: "null",
  }],
  [customer(undefined, undefined, digest), "InvalidArgument", noAlgorithm],
  [
    customer("AES", key.toBase64(), digest),
    "InvalidEncryptionAlgorithmError",
    "The Encryption request you specified is not valid. Supported value: AES256.",
    { ArgumentName: sse, ArgumentValue: "AES" },
  ],
  [
    customer("AES256", undefined, digest),
    "InvalidArgument",
    "Requests specifying Server Side Encryption with Customer provided keys must provide an appropriate secret key.",
  ],
  [
    customer("AES256", key.toBase64(), "AAAA"),
    "InvalidArgument",
    "The calculated MD5 hash of the key did not match the hash that was provided.",
  ],
  [
    customer("AES256", short.toBase64(), createHash("md5").update(short).digest("base64")),
    "InvalidArgument",
    "The secret key was invalid for the specified algorithm.",
  ],
];
/** The MD5 is looked at before the length is. */
const ofBoth: Case = [
  customer("AES256", short.toBase64(), digest),
  "InvalidArgument",
  "The calculated MD5 hash of the key did not match the hash that was provided.",
];
const ofWrites: readonly Case[] = [
  ...ofKeys,
  ofBoth,
  // That there are two methods is told first.
  [
    { ...customer("AES", key.toBase64(), digest), [sse]: "AES256" },
    "InvalidArgument",
    "Server Side Encryption with Customer provided key is incompatible with the encryption method specified",
  ],
  [
    { ...whole, [sse]: "AES256" },
    "InvalidArgument",
    "Server Side Encryption with Customer provided key is incompatible with the encryption method specified",
    { ArgumentName: sse, ArgumentValue: "AES256" },
  ],
  [{ [`${sse}-aws-kms-key-id`]: "key" }, "InvalidArgument", byKms, { ArgumentName: sse }],
  [{ [`${sse}-aws-kms-key-id`]: "key", [sse]: "AES256" }, "InvalidArgument", byKms],
  // A key of KMS's beside a client's own would go unused.
  [{ ...whole, [`${sse}-aws-kms-key-id`]: "key" }, "InvalidArgument", byKms, { ArgumentName: sse }],
  [{ [`${sse}-aws-kms-key-id`]: "key", [sse]: "aws:kms" }, "NotImplemented"],
  [
    { [sse]: "aes" },
    "InvalidArgument",
    "The encryption method specified is not supported",
    { ArgumentName: sse, ArgumentValue: "aes" },
  ],
];
const begun =
  "The multipart upload initiate requested encryption. Subsequent part requests must include the appropriate encryption parameters.";
const notHere: Case = [
  { [sse]: "AES256" },
  "InvalidArgument",
  `${sse} header is not supported for this operation.`,
  { ArgumentName: sse, ArgumentValue: "AES256" },
];
const notApplicable = "The encryption parameters are not applicable to this object.";
const ofReads: readonly Case[] = [
  ...ofKeys,
  [whole, "InvalidRequest", notApplicable],
  [{ [`${sse}-aws-kms-key-id`]: "key" }, "InvalidArgument", byKms],
  notHere,
];

Deno.test("encryption on the wire: which of a request's headers is wrong", async () => {
  await using door = await openDoor();
  await door.say("PUT /bucket");
  await door.say("PUT /bucket/key", {}, "x");
  const { text } = await door.say("POST /bucket/parts?uploads");
  const part = `PUT /bucket/parts?partNumber=1&uploadId=${
    encodeURIComponent(/<UploadId>([^<]*)</.exec(text)?.[1] ?? "")
  }`;
  const refuses = async (
    line: string,
    more: Record<string, string>,
    [headers, code, message, elements = {}]: Case,
  ) => {
    const answer = await door.say(
      line,
      { ...more, ...headers },
      line.startsWith("PUT") ? "x" : undefined,
    );
    const told = `${line} ${JSON.stringify(headers)}: ${answer.text}`;
    assert.equal(answer.status, code === "NotImplemented" ? 501 : 400, told);
    if (line.startsWith("HEAD")) return;
    assert.equal(elementOf(answer.text, "Code"), code, told);
    if (message !== undefined) assert.equal(elementOf(answer.text, "Message"), message, told);
    for (const [name, value] of Object.entries(elements)) {
      assert.equal(elementOf(answer.text, name), value, told);
    }
  };
  const copy = { "x-amz-copy-source": "bucket/key" };
  for (const one of ofWrites) {
    await refuses("PUT /bucket/new", {}, one);
    await refuses("POST /bucket/new?uploads", {}, one);
    await refuses("PUT /bucket/new", copy, one);
  }
  for (const one of ofReads) {
    await refuses("GET /bucket/key", {}, one);
    await refuses("HEAD /bucket/key", {}, one);
    await refuses("GET /bucket/key?attributes", { "x-amz-object-attributes": "ETag" }, one);
  }
  for (const one of [...ofKeys, ofBoth, [whole, "InvalidRequest", begun] as const, notHere]) {
    await refuses(part, {}, one);
    await refuses(part, copy, one);
  }
  const source = "x-amz-copy-source-server-side-encryption";
  for (const line of ["PUT /bucket/new", part]) {
    await refuses(line, copy, [
      customer("AES256", key.toBase64(), digest, source),
      "InvalidRequest",
      notApplicable,
    ]);
    await refuses(line, copy, [
      customer(undefined, key.toBase64(), digest, source),
      "InvalidArgument",
      noAlgorithm,
    ]);
  }
  assert.equal((await door.say("GET /bucket/new")).status, 404);
  assert.equal((await door.say("PUT /bucket/new", { [sse]: "AES256" }, "x")).status, 200);
});

Deno.test("encryption on the wire: who writes under a key tells its MD5, who reads need not", async () => {
  await using door = await openDoor();
  const { say } = door;
  await say("PUT /bucket");
  await say("PUT /bucket/key", whole, "hello");
  const source = "x-amz-copy-source-server-side-encryption";
  const bare = customer("AES256", key.toBase64(), undefined);
  const mode = { "x-amz-checksum-mode": "ENABLED" };
  for (const method of ["GET", "HEAD"]) {
    const read = await say(`${method} /bucket/key`, { ...bare, ...mode });
    assert.equal(read.status, 200, read.text);
    if (method === "GET") assert.equal(read.text, "hello");
    assert.equal(read.headers.get(`${sse}-customer-key-md5`), digest);
    assert.ok(read.headers.has("x-amz-checksum-crc64nvme"));
  }
  const attributes = { ...bare, "x-amz-object-attributes": "Checksum" };
  const told = await say("GET /bucket/key?attributes", attributes);
  assert.ok(elementOf(told.text, "ChecksumCRC64NVME") !== undefined, told.text);
  const from = { "x-amz-copy-source": "bucket/key" };
  const copied = await say("PUT /bucket/copy", {
    ...from,
    ...customer("AES256", key.toBase64(), undefined, source),
  });
  assert.equal(copied.status, 200, copied.text);
  assert.equal((await say("GET /bucket/copy")).text, "hello");
  const other = customer("AES256", new Uint8Array(32).toBase64(), undefined);
  assert.equal((await say("GET /bucket/key", other)).status, 403);
  const plain = { "x-amz-copy-source": "bucket/copy" };
  const { text } = await say("POST /bucket/parts?uploads", whole);
  const part = `PUT /bucket/parts?partNumber=1&uploadId=${
    encodeURIComponent(elementOf(text, "UploadId") ?? "")
  }`;
  const writes = [["PUT /bucket/new", {}], ["PUT /bucket/new", plain], [part, {}]] as const;
  for (const [line, more] of [...writes, ["POST /bucket/new?uploads", {}]] as const) {
    const refused = await say(line, { ...more, ...bare }, line.startsWith("PUT") ? "x" : undefined);
    assert.equal(refused.status, 400, `${line}: ${refused.text}`);
    assert.equal(
      elementOf(refused.text, "Message"),
      "Requests specifying Server Side Encryption with Customer provided keys must provide the client calculated MD5 of the secret key.",
    );
  }
  assert.equal((await say("GET /bucket/new")).status, 404);
  assert.deepEqual(door.errors, []);
});
