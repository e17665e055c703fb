/** Checksums of what is under a client's own key: told to who brings it, and to nobody who has the disks. */
import assert from "node:assert/strict";
import { createHash } from "node:crypto";
import { join } from "node:path";
import { elementOf } from "./answered.ts";
import { wholeKey } from "./hostile_keys.ts";
import { type OpenDoor, openDoor } from "./open_door.ts";

const key = wholeKey();
const sha256 = (text: string) => createHash("sha256").update(text).digest("base64");
const crc64 = "x-amz-checksum-crc64nvme";
const bySha256 = { "x-amz-checksum-algorithm": "SHA256" };

/** Fails where a value stands in any file of the store. */
async function standsNowhere({ store }: OpenDoor, values: readonly string[]): Promise<void> {
  const { index, blobs } = store.options;
  assert.ok(typeof index === "string");
  const files = [index, `${index}-wal`];
  for (const blob of blobs) {
    const folder = join(blob, "segments");
    for await (const { name } of Deno.readDir(folder)) files.push(join(folder, name));
  }
  for (const path of files) {
    const bytes = Buffer.from(await Deno.readFile(path));
    for (const value of values) assert.equal(bytes.indexOf(value), -1, `${value} in ${path}`);
  }
}

Deno.test("customer keys: the checksum of an object is sealed with it, and told to who brings the key", async () => {
  await using door = await openDoor();
  const { say } = door;
  await say("PUT /bucket");
  const put = await say("PUT /bucket/key", key, "1234");
  const usual = put.headers.get(crc64) ?? "";
  assert.match(usual, /^[A-Za-z0-9+/]{11}=$/);
  const asked = await say("PUT /bucket/asked", {
    ...key,
    "x-amz-checksum-sha256": sha256("5678"),
  }, "5678");
  assert.equal(asked.headers.get("x-amz-checksum-sha256"), sha256("5678"));
  const copied = await say("PUT /bucket/copy", {
    ...key,
    ...wholeKey(undefined, "x-amz-copy-source-server-side-encryption"),
    "x-amz-copy-source": "bucket/key",
  });
  assert.equal(elementOf(copied.text, "ChecksumCRC64NVME"), usual);
  const mode = { "x-amz-checksum-mode": "ENABLED" };
  for (const name of ["key", "copy"]) {
    for (const method of ["GET", "HEAD"]) {
      const read = await say(`${method} /bucket/${name}`, { ...key, ...mode });
      assert.equal(read.headers.get(crc64), usual);
    }
  }
  const attributes = await say("GET /bucket/asked?attributes", {
    ...key,
    "x-amz-object-attributes": "Checksum",
  });
  assert.equal(elementOf(attributes.text, "ChecksumSHA256"), sha256("5678"));
  // Of what kind it is, lists tell to everybody.
  assert.match((await say("GET /bucket?list-type=2")).text, /<ChecksumAlgorithm>SHA256</);
  await standsNowhere(door, [usual, sha256("5678")]);
  assert.deepEqual(door.errors, []);
});

Deno.test("customer keys: checksums of parts are sealed, and the whole's is made of them with the key", async () => {
  await using door = await openDoor();
  const { say } = door;
  await say("PUT /bucket");
  const begin = async (more: Record<string, string>) => {
    const { text } = await say("POST /bucket/parts?uploads", { ...key, ...more });
    return encodeURIComponent(elementOf(text, "UploadId") ?? "");
  };
  const first = "a".repeat(5 << 20);
  const send = async (id: string, number: number, body: string, more = {}) => {
    const line = `PUT /bucket/parts?partNumber=${number}&uploadId=${id}`;
    const { status, headers, text } = await say(line, { ...key, ...more }, body);
    assert.equal(status, 200, text);
    return headers;
  };
  const part = (number: number, headers: Headers, more = "") =>
    `<Part><PartNumber>${number}</PartNumber><ETag>${headers.get("etag")}</ETag>${more}</Part>`;
  const complete = (id: string, parts: string, more: Record<string, string> = {}) =>
    say(
      `POST /bucket/parts?uploadId=${id}`,
      more,
      `<CompleteMultipartUpload>${parts}</CompleteMultipartUpload>`,
    );

  const id = await begin(bySha256);
  const sums = [sha256(first), sha256("end")];
  const sent = [
    await send(id, 1, first, { "x-amz-checksum-sha256": sums[0] }),
    await send(id, 2, "end", { "x-amz-checksum-sha256": sums[1] }),
  ];
  assert.equal(sent[1]?.get("x-amz-checksum-sha256"), sums[1]);
  const list = `GET /bucket/parts?uploadId=${id}`;
  assert.equal(elementOf((await say(list)).text, "ChecksumSHA256"), undefined);
  assert.equal(elementOf((await say(list, key)).text, "ChecksumSHA256"), sums[0]);
  assert.equal((await say(list, wholeKey(new Uint8Array(32)))).status, 400);
  const parts = sent.map((headers, at) =>
    part(at + 1, headers, `<ChecksumSHA256>${sums[at]}</ChecksumSHA256>`)
  ).join("");
  const refused = await complete(id, parts);
  assert.equal(refused.status, 400, refused.text);
  assert.equal(elementOf(refused.text, "Code"), "InvalidArgument");
  const made = await complete(id, parts, key);
  const whole = createHash("sha256")
    .update(Buffer.concat(sums.map((sum) => Buffer.from(sum, "base64")))).digest("base64");
  assert.equal(elementOf(made.text, "ChecksumSHA256"), `${whole}-2`);
  const mode = { ...key, "x-amz-checksum-mode": "ENABLED" };
  const read = await say("HEAD /bucket/parts", mode);
  assert.equal(read.headers.get("x-amz-checksum-sha256"), `${whole}-2`);
  const second = await say("HEAD /bucket/parts?partNumber=2", mode);
  assert.equal(second.headers.get("x-amz-checksum-sha256"), sums[1]);
  const attributes = await say("GET /bucket/parts?attributes", {
    ...key,
    "x-amz-object-attributes": "Checksum,ObjectParts",
  });
  for (const sum of [whole, ...sums]) assert.ok(attributes.text.includes(`>${sum}<`), sum);
  // Who asks again without the key hears again, but not what is sealed.
  const again = await complete(id, parts);
  assert.equal(again.status, 200, again.text);
  assert.equal(elementOf(again.text, "ChecksumSHA256"), undefined);
  await standsNowhere(door, [whole, ...sums]);

  // Where the upload named none, the key is not needed, and brings the usual one.
  for (const more of [{}, key]) {
    const plain = await begin({});
    const one = await send(plain, 1, "one part");
    const done = await complete(plain, part(1, one), more);
    assert.equal(done.status, 200, done.text);
    const usual = elementOf(done.text, "ChecksumCRC64NVME");
    assert.equal(usual === undefined, more !== key);
    const head = await say("HEAD /bucket/parts", mode);
    assert.equal(head.headers.get(crc64) ?? undefined, usual);
    if (usual !== undefined) await standsNowhere(door, [usual]);
  }
  assert.deepEqual(door.errors, []);
});
