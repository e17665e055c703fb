/** What a bucket cannot have here: what is wrong with it is told first, in AWS's words; nothing of it is kept. */
import assert from "node:assert/strict";
import { assertAnswer } from "./answered.ts";
import { type OpenDoor, openDoor } from "./open_door.ts";

type Case = readonly [inner: string, status: number, answer: Readonly<Record<string, string>>];

const malformed = [400, { Code: "MalformedXML" }] as const;
const sound = [501, { Code: "NotImplemented" }] as const;

async function refuses(
  query: string,
  root: string,
  cases: readonly Case[],
  prepare: (door: OpenDoor) => Promise<unknown> = () => Promise.resolve(),
): Promise<void> {
  await using door = await openDoor();
  await door.say("PUT /bucket");
  await prepare(door);
  const before = await door.say(`GET /bucket?${query}`);
  for (const [inner, status, answer] of cases) {
    const came = await door.say(`PUT /bucket?${query}`, {}, `<${root}>${inner}</${root}>`);
    assertAnswer(came, status, answer);
  }
  const after = await door.say(`GET /bucket?${query}`);
  assert.equal(after.status, before.status);
}

const destination = (bucket: string, format = "CSV") =>
  `<Destination><S3BucketDestination><Bucket>${bucket}</Bucket><Format>${format}</Format></S3BucketDestination></Destination>`;

Deno.test("refused configurations: inventories", () => {
  const inventory = (
    {
      id = "a",
      to = destination("arn:aws:s3:::bucket"),
      often = "Daily",
      versions = "All",
      field = "Size",
    },
  ) =>
    `<Id>${id}</Id><IsEnabled>true</IsEnabled>${to}<IncludedObjectVersions>${versions}</IncludedObjectVersions><Schedule><Frequency>${often}</Frequency></Schedule><OptionalFields><Field>${field}</Field></OptionalFields>`;
  return refuses("inventory&id=a", "InventoryConfiguration", [
    [inventory({ id: "b" }), 400, {
      Code: "IdMismatch",
      Message: "Document ID does not match the specified configuration ID.",
    }],
    [inventory({ to: destination("bucket") }), 400, {
      Code: "InvalidS3DestinationBucket",
      Message: "Invalid bucket ARN.",
    }],
    [inventory({ to: destination("arn:aws:s3:::bucket", "WRONG") }), ...malformed],
    [inventory({ often: "Hourly" }), ...malformed],
    [inventory({ versions: "Some" }), ...malformed],
    [inventory({ field: "Colour" }), ...malformed],
    [inventory({}), ...sound],
  ]);
});

Deno.test("refused configurations: analytics, metrics and archive tiers", async () => {
  const analysis = (inner: string) => `<StorageClassAnalysis>${inner}</StorageClassAnalysis>`;
  const exported = `<DataExport><OutputSchemaVersion>V_1</OutputSchemaVersion>${
    destination("arn:aws:s3:::bucket")
  }</DataExport>`;
  await refuses("analytics&id=a", "AnalyticsConfiguration", [
    ["<Id>b</Id>" + analysis(""), 400, { Code: "IdMismatch" }],
    ["<Id>a</Id>", ...malformed],
    ["<Id>a</Id>" + analysis("<DataExport/>"), ...malformed],
    ["<Id>a</Id>" + analysis(exported), ...sound],
  ]);
  const tier = "<Tiering><Days>90</Days><AccessTier>ARCHIVE_ACCESS</AccessTier></Tiering>";
  await refuses("intelligent-tiering&id=a", "IntelligentTieringConfiguration", [
    ["<Id>a</Id><Status>Enabled</Status>", ...malformed],
    [`<Id>a</Id><Status>Perhaps</Status>${tier}`, ...malformed],
    [`<Id>a</Id><Status>Enabled</Status>${tier}`, ...sound],
  ]);
  await refuses("metrics&id=a", "MetricsConfiguration", [
    ["<Id>b</Id>", 400, { Code: "IdMismatch" }],
    ["<Id>a</Id>", ...sound],
  ]);
});

const versioned = (bucket: string) => ({ say }: OpenDoor) =>
  say(
    `PUT /${bucket}?versioning`,
    {},
    "<VersioningConfiguration><Status>Enabled</Status></VersioningConfiguration>",
  );

Deno.test("refused configurations: replication needs versions, here and there", async () => {
  const rules = (bucket: string) =>
    `<Role>arn:aws:iam::123456789012:role/r</Role><Rule><Status>Enabled</Status><Destination><Bucket>arn:aws:s3:::${bucket}</Bucket></Destination></Rule>`;
  await refuses("replication", "ReplicationConfiguration", [
    ["<Role>r</Role>", ...malformed],
    [rules("bucket"), 400, {
      Code: "InvalidRequest",
      Message: "Versioning must be 'Enabled' on the bucket to apply a replication configuration",
    }],
  ]);
  const other = {
    Code: "InvalidRequest",
    Message: "Destination bucket must have versioning enabled.",
  };
  await refuses("replication", "ReplicationConfiguration", [
    [rules("none"), 400, other],
    [rules("other"), 400, other],
    [rules("bucket"), ...sound],
  ], async (door) => {
    await door.say("PUT /other");
    await versioned("bucket")(door);
  });
});

Deno.test("refused configurations: logs go to a bucket that there is", () => {
  const logs = (target: string) =>
    `<LoggingEnabled><TargetBucket>${target}</TargetBucket><TargetPrefix>log</TargetPrefix></LoggingEnabled>`;
  return refuses("logging", "BucketLoggingStatus", [
    [logs("none"), 400, {
      Code: "InvalidTargetBucketForLogging",
      Message: "The target bucket for logging does not exist",
      TargetBucket: "none",
    }],
    [logs("bucket"), ...sound],
  ]);
});

Deno.test("refused configurations: websites", () => {
  const index = (suffix: string) => `<IndexDocument><Suffix>${suffix}</Suffix></IndexDocument>`;
  const everything = (protocol: string) =>
    `<RedirectAllRequestsTo><HostName>a.example</HostName><Protocol>${protocol}</Protocol></RedirectAllRequestsTo>`;
  const routed = (rule: string) =>
    `${index("index.html")}<RoutingRules><RoutingRule>${rule}</RoutingRule></RoutingRules>`;
  const badIndex = (ArgumentValue: string) => ({
    Code: "InvalidArgument",
    Message: "The IndexDocument Suffix is not well formed",
    ArgumentName: "IndexDocument",
    ArgumentValue,
  });
  return refuses("website", "WebsiteConfiguration", [
    [index("/index.html"), 400, badIndex("/index.html")],
    [index(""), 400, badIndex("")],
    [index("index.html") + everything("https"), 400, {
      Code: "InvalidArgument",
      Message: "RedirectAllRequestsTo cannot be provided in conjunction with other Routing Rules.",
      ArgumentName: "RedirectAllRequestsTo",
      ArgumentValue: "not null",
    }],
    ["", 400, {
      Code: "InvalidArgument",
      Message:
        "A value for IndexDocument Suffix must be provided if RedirectAllRequestsTo is empty",
      ArgumentName: "IndexDocument",
      ArgumentValue: "null",
    }],
    [everything("gopher"), 400, {
      Code: "InvalidRequest",
      Message:
        "Invalid protocol, protocol can be http or https. If not defined the protocol will be selected automatically.",
    }],
    [
      routed(
        "<Redirect><ReplaceKeyWith>a</ReplaceKeyWith><ReplaceKeyPrefixWith>b</ReplaceKeyPrefixWith></Redirect>",
      ),
      400,
      {
        Code: "InvalidRequest",
        Message: "You can only define ReplaceKeyPrefix or ReplaceKey but not both.",
      },
    ],
    [
      routed("<Condition/><Redirect><ReplaceKeyWith>a</ReplaceKeyWith></Redirect>"),
      400,
      {
        Code: "InvalidRequest",
        Message:
          "Condition cannot be empty. To redirect all requests without a condition, the condition element shouldn't be present.",
      },
    ],
    [`${index("index.html")}<RoutingRules/>`, ...malformed],
    [index("index.html"), ...sound],
    [everything("https"), ...sound],
  ]);
});

Deno.test("refused configurations: torrents and queries are withdrawn, also where AWS has them by name", async () => {
  await using door = await openDoor();
  const { say } = door;
  await say("PUT /bucket");
  await say("PUT /bucket/key", {}, "x");
  const gone = { Code: "MethodNotAllowed" };
  assertAnswer(await say("GET /bucket/key?torrent"), 405, { ...gone, Method: "GET" });
  assertAnswer(await say("POST /bucket/key?select&select-type=2", {}, "x"), 405, {
    ...gone,
    Method: "POST",
  });
  assertAnswer(await say("GET /none/key?torrent"), 404, { Code: "NoSuchBucket" });
  assertAnswer(await say("GET /bucket?torrent"), 400, {
    Code: "RequestTorrentOfBucketError",
    Message: "Requesting the torrent file of a bucket is not permitted.",
  });
});

Deno.test("refused configurations: what is younger is answered as never used", async () => {
  await using door = await openDoor();
  const { say } = door;
  await say("PUT /bucket");
  await versioned("bucket")(door);
  const put = await say("PUT /bucket/key", {}, "x");
  const version = put.headers.get("x-amz-version-id");
  const list = await say("GET /bucket/key?annotation&max-annotation-results=5");
  assertAnswer(list, 200, {
    Bucket: "bucket",
    Key: "key",
    MaxAnnotationResults: "5",
    AnnotationCount: "0",
  });
  assert.equal(list.headers.get("x-amz-object-version-id"), version);
  assertAnswer(await say("GET /bucket/key?annotation&annotationName=a"), 404, {
    Code: "NoSuchAnnotation",
    Message: "The specified annotation does not exist on this object.",
  });
  assertAnswer(await say("GET /bucket/none?annotation"), 404, { Code: "NoSuchKey" });
  assert.equal((await say("DELETE /bucket/key?annotation&annotationName=a")).status, 204);
  assertAnswer(await say("GET /bucket?abac"), 200, { Status: "Disabled" });
  const abac = (status: string) =>
    say("PUT /bucket?abac", {}, `<AbacStatus><Status>${status}</Status></AbacStatus>`);
  assert.equal((await abac("Disabled")).status, 200);
  assertAnswer(await abac("Enabled"), ...sound);
  assertAnswer(await abac("Perhaps"), ...malformed);
  for (const query of ["metadataConfiguration", "metadataTable"]) {
    for (const method of ["GET", "DELETE"]) {
      assertAnswer(await say(`${method} /bucket?${query}`), 404, {
        Code: "MetadataConfigurationNotFound",
      });
    }
    assertAnswer(await say(`POST /bucket?${query}`, {}, "<a/>"), ...sound);
  }
  const directories = await say("GET /?x-id=ListDirectoryBuckets");
  assert.match(directories.text, /<ListAllMyDirectoryBucketsResult.*<Buckets><\/Buckets>/);
  assert.equal(directories.status, 200);
});
