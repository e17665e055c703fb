/** Lists as S3 writes them: what is told back and in which form, and which question is refused for what. */
import assert from "node:assert/strict";
import { elementOf } from "./answered.ts";
import { type Came, type OpenDoor, openDoor } from "./open_door.ts";

async function withKeys(
  keys: readonly string[],
  work: (door: OpenDoor) => Promise<void>,
): Promise<void> {
  await using door = await openDoor();
  await door.say("PUT /bucket");
  for (const key of keys) await door.say(`PUT /bucket/${encodeURIComponent(key)}`, {}, "x");
  await work(door);
}

/** The names of a document's elements below its root, each once, in their order. */
function order({ text }: Came): string[] {
  const [, inside = ""] = /<\w+ xmlns="[^"]*">([^]*)<\/\w+>$/.exec(text) ?? [];
  const names: string[] = [];
  let depth = 0;
  for (const [, closing, name = "", empty] of inside.matchAll(/<(\/)?(\w+)(\/)?>/g)) {
    if (closing !== undefined) depth--;
    else {
      if (depth === 0 && names.at(-1) !== name) names.push(name);
      if (empty === undefined) depth++;
    }
  }
  return names;
}

const keysOf = ({ text }: Came) => [...text.matchAll(/<Key>([^<]*)</g)].map(([, key]) => key);

function refusedFor(answer: Came, message: string, name: string, value?: string): void {
  assert.equal(answer.status, 400, answer.text);
  assert.equal(elementOf(answer.text, "Code"), "InvalidArgument");
  assert.equal(elementOf(answer.text, "Message"), message);
  assert.equal(elementOf(answer.text, "ArgumentName"), name);
  assert.equal(elementOf(answer.text, "ArgumentValue"), value);
}

Deno.test("lists: encoded keys are as HTML forms have them, but for the slash", () =>
  withKeys(["a b", "a+b", "a~*!'()", "é/ü x", "1%"], async ({ say }) => {
    const encoded = ["1%25", "a+b", "a%2Bb", "a%7E*%21%27%28%29", "%C3%A9/%C3%BC+x"];
    for (const list of ["", "list-type=2&", "versions&"]) {
      assert.deepEqual(keysOf(await say(`GET /bucket?${list}encoding-type=url`)), encoded, list);
    }
    const grouped = await say(
      "GET /bucket?encoding-type=URL&delimiter=%20&prefix=%C3%A9/&marker=%20",
    );
    assert.equal(elementOf(grouped.text, "EncodingType"), "URL");
    assert.equal(elementOf(grouped.text, "Delimiter"), "+");
    assert.equal(elementOf(grouped.text, "Marker"), "+");
    assert.match(grouped.text, /<CommonPrefixes><Prefix>%C3%A9\/%C3%BC\+</);
  }));

Deno.test("lists: parameters of the other version of a list are refused by their names", () =>
  withKeys([], async ({ say }) => {
    refusedFor(
      await say("GET /bucket?list-type=2&marker="),
      "Marker unsupported with REST.GET.BUCKET in list-type=2",
      "marker",
    );
    refusedFor(
      await say("GET /bucket?start-after=a&continuation-token=b"),
      "continuation-token only supported in REST.GET.BUCKET with list-type=2",
      "continuation-token",
    );
    refusedFor(
      await say("GET /bucket?start-after="),
      "startAfter only supported in REST.GET.BUCKET with list-type=2",
      "start-after",
    );
    // What cannot be read at all comes first, and before the bucket is looked for.
    refusedFor(
      await say("GET /bucket?start-after=a&max-keys=b"),
      "Provided max-keys not an integer or within integer range",
      "max-keys",
      "b",
    );
  }));

Deno.test("lists: a limit counts by its value, is told back as asked for, and has bounds", () =>
  withKeys(["a", "b", "c"], async ({ say }) => {
    for (
      const [asked, told, shown] of [
        ["2000", "2000", 3],
        ["0002", "2", 2],
        ["-0", "0", 0],
        ["", "1000", 3],
        ["2147483647", "2147483647", 3],
      ] as const
    ) {
      for (const list of ["", "list-type=2&", "versions&"]) {
        const answer = await say(`GET /bucket?${list}max-keys=${asked}`);
        assert.equal(elementOf(answer.text, "MaxKeys"), told, list);
        assert.equal(keysOf(answer).length, shown, list);
      }
    }
    for (const list of ["", "list-type=2&"]) {
      refusedFor(
        await say(`GET /bucket?${list}max-keys=-01`),
        "Argument maxKeys must be an integer between 0 and 2147483647",
        "maxKeys",
        "-1",
      );
      for (const value of ["a", "%201", "+1", "2147483648", "-2147483649"]) {
        refusedFor(
          await say(`GET /bucket?${list}max-keys=${value}`),
          "Provided max-keys not an integer or within integer range",
          "max-keys",
          decodeURIComponent(value.replace("+", " ")),
        );
      }
    }
    refusedFor(
      await say("GET /bucket?versions&max-keys=-1"),
      "max-keys cannot be negative",
      "max-keys",
    );
    refusedFor(
      await say("GET /bucket?uploads&max-uploads=-1"),
      "Argument max-uploads must be an integer between 0 and 2147483647",
      "max-uploads",
      "-1",
    );
  }));

Deno.test("lists: elements stand in S3's order, and start-after is told only where it counts", () =>
  withKeys(["a", "b/c", "d"], async ({ say }) => {
    const second = await say("GET /bucket?list-type=2&delimiter=/&start-after=&max-keys=1");
    assert.deepEqual(order(second), [
      ...["Name", "Prefix", "StartAfter", "NextContinuationToken", "KeyCount", "MaxKeys"],
      ...["Delimiter", "IsTruncated", "Contents"],
    ]);
    const token = encodeURIComponent(elementOf(second.text, "NextContinuationToken") ?? "");
    const next = await say(
      `GET /bucket?list-type=2&delimiter=/&start-after=z&continuation-token=${token}`,
    );
    assert.deepEqual(order(next), [
      ...["Name", "Prefix", "ContinuationToken", "KeyCount", "MaxKeys", "Delimiter"],
      ...["IsTruncated", "Contents", "CommonPrefixes"],
    ]);
    assert.deepEqual(keysOf(next), ["d"]);
    assert.deepEqual(order(await say("GET /bucket?delimiter=/&max-keys=2")), [
      ...["Name", "Prefix", "Marker", "NextMarker", "MaxKeys", "Delimiter", "IsTruncated"],
      ...["Contents", "CommonPrefixes"],
    ]);
    const versions = await say("GET /bucket?versions&delimiter=");
    assert.deepEqual(order(versions), [
      ...["Name", "Prefix", "KeyMarker", "VersionIdMarker", "MaxKeys", "Delimiter"],
      ...["IsTruncated", "Version"],
    ]);
  }));

Deno.test("lists: an owner is an id, and nothing has a display name", () =>
  withKeys(["a"], async ({ say }) => {
    await say("POST /bucket/b?uploads");
    for (
      const target of [
        "/",
        "/bucket",
        "/bucket?list-type=2&fetch-owner=true",
        "/bucket?versions",
        "/bucket?uploads",
        "/bucket?acl",
        "/bucket/a?acl",
      ]
    ) {
      const { text } = await say(`GET ${target}`);
      assert.match(text, /<ID>0{52}123456789012<\/ID>/, target);
      assert.doesNotMatch(text, /DisplayName/, target);
    }
  }));

Deno.test("lists: a version to go on behind is one of a key that is named", () =>
  withKeys(["a"], async ({ say }) => {
    const ask = (query: string) => say(`GET /bucket?versions${query}`);
    refusedFor(
      await ask("&version-id-marker=null"),
      "A version-id marker cannot be specified without a key marker.",
      "version-id-marker",
      "null",
    );
    refusedFor(
      await ask("&key-marker=a&version-id-marker="),
      "A version-id marker cannot be empty.",
      "version-id-marker",
      "",
    );
    refusedFor(
      await ask("&key-marker=a&version-id-marker=NULL"),
      "Invalid version id specified",
      "version-id-marker",
      "NULL",
    );
    assert.deepEqual(keysOf(await ask("&key-marker=&version-id-marker=null")), []);
    assert.deepEqual(keysOf(await ask("&key-marker=")), ["a"]);
  }));

Deno.test("lists: the state of restores may be asked for, which no object here has, and nothing else", () =>
  withKeys(["a"], async ({ say }) => {
    const name = "x-amz-optional-object-attributes";
    for (const list of ["", "?list-type=2", "?versions"]) {
      const told = await say(`GET /bucket${list}`, { [name]: "RestoreStatus" });
      assert.deepEqual(keysOf(told), ["a"], told.text);
      assert.equal(elementOf(told.text, "RestoreStatus"), undefined);
      const other = await say(`GET /bucket${list}`, { [name]: "RestoreStatus,Owner" });
      refusedFor(other, "Invalid attribute name specified", name, "Owner");
    }
  }));

Deno.test("lists: a key in a bucket without a name is no list of buckets", async () => {
  await using door = await openDoor();
  await door.say("PUT /first");
  const { status, text } = await door.say("GET //key");
  assert.equal(elementOf(text, "Code"), "InvalidBucketName", text);
  assert.equal(status, 400);
  assert.equal((await door.say("GET /")).status, 200);
});

Deno.test("lists: buckets have their ARN, and their region where a page or a choice is asked for", async () => {
  await using door = await openDoor();
  const { say } = door;
  await say("PUT /first");
  const plain = await say("GET /");
  assert.equal(elementOf(plain.text, "BucketArn"), "arn:aws:s3:::first");
  assert.equal(elementOf(plain.text, "BucketRegion"), undefined);
  for (const query of ["prefix=", "max-buckets=1", "bucket-region=AP-SOUTHEAST-2"]) {
    const { text } = await say(`GET /?${query}`);
    assert.equal(elementOf(text, "BucketRegion"), "ap-southeast-2", query);
  }
  refusedFor(
    await say("GET /?bucket-region=eu-west-1"),
    "Requests with bucket-region specified must be made to the corresponding regional endpoint",
    "bucket-region",
  );
  refusedFor(
    await say("GET /?bucket-region=here"),
    "Argument value here is not a valid AWS Region",
    "bucket-region",
  );
  refusedFor(
    await say("GET /?max-buckets=-01"),
    "Argument max-buckets must be an integer between 1 and 10000",
    "max-buckets",
    "-1",
  );
  const { headers } = await say("HEAD /first");
  assert.equal(headers.get("x-amz-bucket-arn"), "arn:aws:s3:::first");
});
