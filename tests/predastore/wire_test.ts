/** Small things of S3's that clients see on the wire: what headers mean, and what is refused rather than ignored. */
import assert from "node:assert/strict";
import { createHash } from "node:crypto";
import { type OpenDoor, openDoor } from "./open_door.ts";

const codeOf = (text: string) => /<Code>([^<]*)</.exec(text)?.[1];
const messageOf = (text: string) => /<Message>([^<]*)</.exec(text)?.[1];

async function withDoor(work: (door: OpenDoor) => Promise<void>): Promise<void> {
  await using door = await openDoor();
  await door.say("PUT /bucket");
  await work(door);
}

Deno.test("on the wire: a delete whose conditions are not served deletes nothing", () =>
  withDoor(async ({ say }) => {
    await say("PUT /bucket/key", {}, "x");
    for (
      const [name, value] of [
        ["x-amz-if-match-size", "999"],
        ["x-amz-if-match-last-modified-time", "Thu, 01 Jan 1970 00:00:00 GMT"],
      ] as const
    ) {
      const refused = await say("DELETE /bucket/key", { [name]: value });
      assert.equal(refused.status, 501, name);
      assert.equal(codeOf(refused.text), "NotImplemented");
    }
    for (
      const condition of [
        "<Size>999</Size>",
        "<LastModifiedTime>Thu, 01 Jan 1970 00:00:00 GMT</LastModifiedTime>",
      ]
    ) {
      const body = `<Delete><Object><Key>key</Key>${condition}</Object></Delete>`;
      const answer = await say("POST /bucket?delete", {
        "content-md5": createHash("md5").update(body).digest("base64"),
      }, body);
      assert.equal(answer.status, 400);
      assert.equal(codeOf(answer.text), "MalformedXML", answer.text);
    }
    for (const condition of ["*", '"9dd4e461268c8034f5c8564e155c67a6"']) {
      const ofVersion = await say("DELETE /bucket/key?versionId=null", { "if-match": condition });
      assert.equal(ofVersion.status, 501, condition);
      assert.match(ofVersion.text, /<Code>NotImplemented<.*<Header>If-Match</);
    }
    // In a list as well, of which the rest goes on.
    await say("PUT /bucket/other", {}, "x");
    const body =
      "<Delete><Object><Key>key</Key><VersionId>null</VersionId><ETag>9dd4e461268c8034f5c8564e155c67a6</ETag></Object><Object><Key>other</Key></Object></Delete>";
    const listed = await say("POST /bucket?delete", {
      "content-md5": createHash("md5").update(body).digest("base64"),
    }, body);
    assert.equal(listed.status, 200);
    assert.match(
      listed.text,
      /<Error><Key>key<\/Key><VersionId>null<\/VersionId><Code>NotImplemented</,
    );
    assert.match(listed.text, /<Deleted><Key>other</);
    assert.equal((await say("GET /bucket/key")).text, "x");
  }));

Deno.test("on the wire: a copy that is asked for a range is none of the whole", () =>
  withDoor(async ({ say }) => {
    await say("PUT /bucket/key", {}, "hello");
    const headers = {
      "x-amz-copy-source": "bucket/key",
      "x-amz-copy-source-range": "bytes=0-1",
    };
    const answer = await say("PUT /bucket/copy", headers);
    assert.equal(answer.status, 501);
    assert.match(
      answer.text,
      /<Code>NotImplemented<.*<Header>x-amz-copy-source-range<\/Header>/,
    );
    assert.equal((await say("GET /bucket/copy")).status, 404);
    const { text } = await say("POST /bucket/parts?uploads");
    const id = encodeURIComponent(/<UploadId>([^<]*)</.exec(text)?.[1] ?? "");
    assert.equal((await say(`PUT /bucket/parts?partNumber=1&uploadId=${id}`, headers)).status, 200);
  }));

Deno.test("on the wire: Content-Encoding comes back as it was sent, but for aws-chunked", () =>
  withDoor(async ({ say, store }) => {
    for (
      const [sent, kept] of [
        ["deflate, gzip", "deflate, gzip"],
        ["gzip,br", "gzip,br"],
        ["gzip, aws-chunked", "gzip"],
        ["aws-chunked, gzip", "gzip"],
        ["aws-chunked,deflate, gzip", "deflate, gzip"],
        ["aws-chunked", undefined],
        ["aws-chunked, aws-chunked", undefined],
      ] as const
    ) {
      await say("PUT /bucket/key", { "content-encoding": sent }, "x");
      // This door leaves the header out, so that its peer unpacks nothing.
      const bucket = store.buckets.find("bucket");
      assert.ok(bucket !== undefined);
      const object = store.objects.find(bucket, "key");
      assert.equal(object?.meta.headers["content-encoding"], kept, sent);
    }
  }));

Deno.test("on the wire: a part of an upload that sums each part brings its checksum", () =>
  withDoor(async ({ say }) => {
    const begin = async (headers: Record<string, string>) => {
      const { text } = await say("POST /bucket/key?uploads", headers);
      const id = /<UploadId>([^<]*)</.exec(text)?.[1] ?? "";
      return await say(`PUT /bucket/key?partNumber=1&uploadId=${encodeURIComponent(id)}`, {}, "x");
    };
    const refused = await begin({ "x-amz-checksum-algorithm": "SHA256" });
    assert.equal(refused.status, 400);
    assert.equal(codeOf(refused.text), "InvalidRequest");
    assert.equal(
      messageOf(refused.text),
      "Checksum Type mismatch occurred, expected checksum Type: sha256, actual checksum Type: null",
    );
    // That of the whole is made from what is computed of each.
    assert.equal(
      (await begin({
        "x-amz-checksum-algorithm": "CRC32",
        "x-amz-checksum-type": "FULL_OBJECT",
      })).status,
      200,
    );
  }));

Deno.test("on the wire: a part tells only a checksum that was asked for, also a copied one", () =>
  withDoor(async ({ say }) => {
    await say("PUT /bucket/source", {}, "x");
    const copied = async (headers: Record<string, string>) => {
      const { text } = await say("POST /bucket/key?uploads", headers);
      const id = /<UploadId>([^<]*)</.exec(text)?.[1] ?? "";
      const target = `/bucket/key?partNumber=1&uploadId=${encodeURIComponent(id)}`;
      return (await say(`PUT ${target}`, { "x-amz-copy-source": "bucket/source" })).text;
    };
    assert.doesNotMatch(await copied({}), /Checksum/);
    const { text } = await say("POST /bucket/key?uploads");
    const id = encodeURIComponent(/<UploadId>([^<]*)</.exec(text)?.[1] ?? "");
    const sent = await say(`PUT /bucket/key?partNumber=1&uploadId=${id}`, {}, "x");
    assert.equal(sent.headers.get("x-amz-checksum-crc64nvme"), null);
    assert.match(await copied({ "x-amz-checksum-algorithm": "SHA1" }), /<ChecksumSHA1>/);
  }));

Deno.test("on the wire: parts may bring another checksum than that which their object is given", () =>
  withDoor(async ({ say }) => {
    const { text } = await say("POST /bucket/key?uploads");
    const id = encodeURIComponent(/<UploadId>([^<]*)</.exec(text)?.[1] ?? "");
    const part = await say(`PUT /bucket/key?partNumber=1&uploadId=${id}`, {
      "x-amz-checksum-crc32": "jNwWgw==",
    }, "x");
    assert.equal(part.headers.get("x-amz-checksum-crc32"), "jNwWgw==");
    assert.equal(part.headers.get("x-amz-checksum-crc64nvme"), null);
    assert.doesNotMatch((await say(`GET /bucket/key?uploadId=${id}`)).text, /Checksum/);
    const done = await say(
      `POST /bucket/key?uploadId=${id}`,
      {},
      `<CompleteMultipartUpload><Part><PartNumber>1</PartNumber><ETag>${
        part.headers.get("etag")
      }</ETag><ChecksumCRC32>jNwWgw==</ChecksumCRC32></Part></CompleteMultipartUpload>`,
    );
    assert.match(done.text, /<ChecksumCRC64NVME>Lb1nAmRU5LE=</);
    assert.match(done.text, /<ChecksumType>FULL_OBJECT</);
  }));

Deno.test("on the wire: a key deleted since an upload began is a conflict for If-None-Match", () =>
  withDoor(async ({ say }) => {
    const begin = async () => {
      const { text } = await say("POST /bucket/key?uploads");
      const id = encodeURIComponent(/<UploadId>([^<]*)</.exec(text)?.[1] ?? "");
      const part = await say(`PUT /bucket/key?partNumber=1&uploadId=${id}`, {}, "x");
      const etag = part.headers.get("etag");
      return () =>
        say(
          `POST /bucket/key?uploadId=${id}`,
          { "if-none-match": "*" },
          `<CompleteMultipartUpload><Part><PartNumber>1</PartNumber><ETag>${etag}</ETag></Part></CompleteMultipartUpload>`,
        );
    };
    await say("PUT /bucket/key", {}, "x");
    const complete = await begin();
    assert.equal((await complete()).status, 412);
    await say("DELETE /bucket/key");
    const conflict = await complete();
    assert.equal(conflict.status, 409, conflict.text);
    assert.equal(codeOf(conflict.text), "ConditionalRequestConflict");
    const again = await begin();
    assert.equal((await again()).status, 200);
  }));

Deno.test("on the wire: an encoding of lists is url or none at all", () =>
  withDoor(async ({ say }) => {
    for (const list of ["", "list-type=2&", "versions&", "uploads&"]) {
      for (const value of ["", "value"]) {
        const answer = await say(`GET /bucket?${list}encoding-type=${value}`);
        assert.equal(answer.status, 400, list);
        assert.equal(messageOf(answer.text), "Invalid Encoding Method specified in Request");
      }
    }
  }));

Deno.test("on the wire: a delete marker that is met instead of an object is named in headers", () =>
  withDoor(async ({ say }) => {
    await say("PUT /kept", { "x-amz-bucket-object-lock-enabled": "true" });
    await say("PUT /kept/key", {}, "x");
    const marker = (await say("DELETE /kept/key")).headers.get("x-amz-version-id") ?? "";
    const copy = (source: string) => say("PUT /bucket/copy", { "x-amz-copy-source": source });
    const hidden = await copy("kept/key");
    assert.equal(codeOf(hidden.text), "NoSuchKey");
    assert.equal(hidden.headers.get("x-amz-delete-marker"), "true");
    assert.equal(hidden.headers.get("x-amz-version-id"), marker);
    for (const version of [undefined, marker]) {
      const query = version === undefined ? "" : `&versionId=${version}`;
      const answer = await say(`PUT /kept/key?acl${query}`, { "x-amz-acl": "private" });
      assert.equal(answer.status, 405);
      assert.equal(answer.headers.get("allow"), "DELETE");
      assert.equal(
        answer.headers.get("x-amz-delete-marker"),
        version === undefined ? null : "true",
      );
      assert.equal(answer.headers.get("x-amz-version-id"), version ?? null);
    }
  }));

Deno.test("on the wire: a version of a copy's source that can be none is told of as in the header", () =>
  withDoor(async ({ say }) => {
    await say("PUT /bucket/key", {}, "x");
    const { text } = await say("POST /bucket/parts?uploads");
    const id = encodeURIComponent(/<UploadId>([^<]*)</.exec(text)?.[1] ?? "");
    const part = `PUT /bucket/parts?partNumber=1&uploadId=${id}`;
    for (
      const [line, version, code, value] of [
        ["PUT /bucket/copy", "", "InvalidArgument", ""],
        ["PUT /bucket/copy", "abc", "InvalidRequest", undefined],
        [part, "", "InvalidArgument", ""],
        [part, "abc", "InvalidArgument", "abc"],
      ] as const
    ) {
      const answer = await say(line, { "x-amz-copy-source": `bucket/key?versionId=${version}` });
      assert.equal(answer.status, 400);
      assert.equal(codeOf(answer.text), code, line);
      if (value === undefined) continue;
      assert.match(answer.text, /<ArgumentName>x-amz-copy-source</);
      assert.ok(answer.text.includes(`<ArgumentValue>${value}</ArgumentValue>`), answer.text);
    }
  }));

Deno.test("on the wire: an object's ACL is of a version, which is told", () =>
  withDoor(async ({ say }) => {
    await say("PUT /kept", { "x-amz-bucket-object-lock-enabled": "true" });
    const version = (await say("PUT /kept/key", {}, "x")).headers.get("x-amz-version-id");
    const asked = await say("GET /kept/key?acl");
    const put = await say("PUT /kept/key?acl", { "x-amz-acl": "private" });
    for (const { status, headers } of [asked, put]) {
      assert.equal(status, 200);
      assert.equal(headers.get("x-amz-version-id"), version);
    }
    await say("PUT /bucket/key", {}, "x");
    assert.equal((await say("GET /bucket/key?acl")).headers.get("x-amz-version-id"), null);
  }));

Deno.test("on the wire: names that are kept for other kinds of buckets are refused", () =>
  withDoor(async ({ say }) => {
    const names = ["a--x-s3", "a--table-s3", "a--ol-s3", "a.mrap", "a-s3alias", "amzn-s3-demo-a"];
    for (const name of [...names, "xn--a", "sthree-a"]) {
      const answer = await say(`PUT /${name}`);
      assert.equal(codeOf(answer.text), "InvalidBucketName", name);
    }
  }));

Deno.test("on the wire: what is not served of an object overwrites nothing", () =>
  withDoor(async ({ say }) => {
    await say("PUT /bucket/key", {}, "x");
    for (
      const target of ["key?annotation&annotationName=a", "key?encryption", "key?renameObject"]
    ) {
      const answer = await say(`PUT /bucket/${target}`, {}, "<Other/>");
      assert.equal(codeOf(answer.text), "NotImplemented", target);
    }
    assert.equal((await say("GET /bucket/key")).text, "x");
  }));

Deno.test("on the wire: what makes a version takes no version id", () =>
  withDoor(async ({ say }) => {
    await say("PUT /bucket/key", {}, "x");
    for (
      const [line, headers] of [
        ["PUT /bucket/new?versionId=null", {}],
        ["PUT /bucket/new?versionId=null", { "x-amz-copy-source": "bucket/key" }],
        ["POST /bucket/new?uploads&versionId=null", {}],
        ["PUT /bucket/new?partNumber=1&uploadId=u&versionId=null", {}],
      ] as const
    ) {
      const answer = await say(line, headers);
      assert.equal(answer.status, 400, line);
      assert.equal(codeOf(answer.text), "InvalidArgument");
      assert.equal(messageOf(answer.text), "This operation does not accept a version-id.");
    }
    assert.equal((await say("GET /bucket/new")).status, 404);
  }));

Deno.test("on the wire: an algorithm that a client names is that of the checksum which it sends", () =>
  withDoor(async ({ say }) => {
    const put = (headers: Record<string, string>) => say("PUT /bucket/key", headers, "x");
    const named = { "x-amz-sdk-checksum-algorithm": "CRC32" };
    const missing = await put(named);
    assert.equal(missing.status, 400);
    assert.equal(
      messageOf(missing.text),
      "x-amz-sdk-checksum-algorithm specified, but no corresponding x-amz-checksum-* or x-amz-trailer headers were found.",
    );
    const other = await put({ ...named, "x-amz-checksum-sha1": "EfatjsUqKYSrqv18O1FlA3hcIHI=" });
    assert.equal(
      messageOf(other.text),
      "Value for x-amz-sdk-checksum-algorithm header is invalid.",
    );
    const unknown = await put({ "x-amz-sdk-checksum-algorithm": "MD4" });
    assert.equal(codeOf(unknown.text), "InvalidRequest");
    assert.equal((await say("GET /bucket/key")).status, 404);
    assert.equal((await put({ ...named, "x-amz-checksum-crc32": "jNwWgw==" })).status, 200);
  }));

Deno.test("on the wire: a bucket of an account's own namespace is not made in everybody's", () =>
  withDoor(async ({ say }) => {
    const own = { "x-amz-bucket-namespace": "account-regional" };
    const refused = await say("PUT /a-123456789012-ap-southeast-2-an", own);
    assert.equal(codeOf(refused.text), "NotImplemented");
    assert.equal((await say("PUT /other", { "x-amz-bucket-namespace": "global" })).status, 200);
  }));

Deno.test("on the wire: a bucket has the tags that it is made with, and is no directory", () =>
  withDoor(async ({ say }) => {
    const make = (name: string, inner: string) =>
      say(
        `PUT /${name}`,
        {},
        `<CreateBucketConfiguration><LocationConstraint>ap-southeast-2</LocationConstraint>${inner}</CreateBucketConfiguration>`,
      );
    const tag = (key: string, value: string) =>
      `<Tag><Key>${key}</Key><Value>${value}</Value></Tag>`;
    assert.equal(
      (await make("tagged", `<Tags>${tag("a", "1")}${tag("b", "")}</Tags>`)).status,
      200,
    );
    const { text } = await say("GET /tagged?tagging");
    assert.match(text, /<TagSet><Tag><Key>a<.*<Value>1<.*<Key>b<.*<Value><\/Value>/);
    const twice = await make("twice", `<Tags>${tag("a", "1")}${tag("a", "2")}</Tags>`);
    assert.equal(codeOf(twice.text), "InvalidTag");
    assert.equal((await make("untagged", "<Tags></Tags>")).status, 200);
    assert.equal(codeOf((await say("GET /untagged?tagging")).text), "NoSuchTagSet");
    const directory = await make("directory", "<Bucket><Type>Directory</Type></Bucket>");
    assert.equal(codeOf(directory.text), "NotImplemented");
    for (const name of ["twice", "directory"]) {
      assert.equal((await say(`HEAD /${name}`)).status, 404);
    }
  }));

Deno.test("on the wire: times are told in whole seconds, in documents as in headers", () =>
  withDoor(async ({ say }) => {
    const before = Math.floor(Date.now() / 1000) * 1000;
    await say("PUT /bucket/key", {}, "x");
    const { headers } = await say("HEAD /bucket/key");
    const { text } = await say("POST /bucket/parts?uploads");
    const upload = encodeURIComponent(/<UploadId>([^<]*)</.exec(text)?.[1] ?? "");
    const part = `/bucket/parts?partNumber=1&uploadId=${upload}`;
    const source = { "x-amz-copy-source": "bucket/key" };
    const answers = [
      await say("GET /"),
      await say("GET /bucket"),
      await say("GET /bucket?list-type=2"),
      await say("GET /bucket?versions"),
      await say("GET /bucket?uploads"),
      await say(`PUT ${part}`, source),
      await say(`GET /bucket/parts?uploadId=${upload}`),
      await say("PUT /bucket/copy", source),
    ];
    for (const answer of answers) {
      const [, time = ""] = /<(?:LastModified|Initiated|CreationDate)>([^<]*)</.exec(answer.text) ??
        [];
      assert.match(time, /^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.000Z$/, answer.text);
      assert.ok(Math.abs(Date.parse(time) - before) < 5_000, time);
    }
    const [, listed = ""] = /<LastModified>([^<]*)</.exec(answers[1]?.text ?? "") ?? [];
    assert.equal(new Date(listed).toUTCString(), headers.get("last-modified"));
  }));
