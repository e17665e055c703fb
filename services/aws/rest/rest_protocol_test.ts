import assert from "node:assert/strict";
import * as ebs from "@aws-sdk/client-ebs";
import * as s3 from "@aws-sdk/client-s3";
import { AwsError } from "../errors.ts";
import { largestDocument_bytes } from "./rest_decode.ts";
import { restProtocol } from "./rest_protocol.ts";
import { type RestOperation, RestService, restService } from "./rest_service.ts";
import { asJson, Generator, nasty, plain } from "../schema/schema_samples.ts";
import { type NormalizedSchema, operationsOf } from "../schema/smithy_schema.ts";
import { seeded } from "../../../tests/kit/random.ts";

const ofS3 = new RestService("s3", s3, {
  protocol: "restXml",
  xml_namespace: "http://s3.amazonaws.com/doc/2006-03-01/",
  fault_codes: {
    missing: "InvalidRequest",
    unknown: "InvalidArgument",
    invalid: "InvalidArgument",
    malformed: "MalformedXML",
    too_large: "MaxMessageLengthExceeded",
  },
  bare_errors: true,
  bare_answers: ["GetBucketLocation"],
});
const ofEbs = restService("ebs")!;

/** Headers, paths and attributes cannot carry everything that a body can. */
class RestGenerator extends Generator {
  readonly #narrow = new Generator(["plain-#", `a&b<c>'=+%20 "d", #`]);

  override value(of: NormalizedSchema, inside: readonly string[], fractional = false): unknown {
    const traits = of.getMergedTraits();
    if (traits.httpPrefixHeaders) return { "key-1": "value a", "key.2": "b=c, d" };
    if (traits.httpLabel && of.isStringSchema()) return "la bel/é+%20";
    const narrow = traits.httpHeader ?? traits.xmlAttribute ?? traits.httpPayload;
    if (narrow && !of.isStructSchema()) return this.#narrow.value(of, inside, fractional);
    return super.value(of, inside, fractional);
  }

  override structure(of: NormalizedSchema, inside: readonly string[]): unknown {
    const made = super.structure(of, inside);
    return of.isUnionSchema() && made !== undefined
      ? Object.fromEntries(Object.entries(made as object).slice(0, 1))
      : made;
  }
}

interface CapturedRequest {
  method: string;
  path: string;
  query: Record<string, string | string[] | null>;
  headers: Record<string, string>;
  body?: string | Uint8Array;
}

// deno-lint-ignore no-explicit-any
type AnyClient = Record<string, any>;

function targetOf(request: CapturedRequest, without = ""): string {
  const query = Object.entries(request.query ?? {})
    .filter(([name]) => name !== without)
    .flatMap(([name, value]) => [value].flat().map((one) => [name, one ?? ""]))
    .map((pair) => pair.map((text) => encodeURIComponent(text!)).join("="));
  return request.path + (query.length === 0 ? "" : `?${query.join("&")}`);
}

const bytesOf = (body: string | Uint8Array | undefined) =>
  typeof body === "string" ? new TextEncoder().encode(body) : body;

/** What clients add or change by themselves is not asked of them. */
const touchedByClient = /^(?:CopySource)?SSECustomerKey(?:MD5)?$|^ExpiresString$/;

function adapt(values: Record<string, unknown>): Record<string, unknown> {
  for (const name of Object.keys(values)) if (touchedByClient.test(name)) delete values[name];
  if ("Bucket" in values && typeof values.Bucket === "string") values.Bucket = "bucket-1";
  if ("RequestRoute" in values) values.RequestRoute = "route-1";
  if ("ChecksumAlgorithm" in values && typeof values.ChecksumAlgorithm === "string") {
    values.ChecksumAlgorithm = "CRC32";
  }
  return values;
}

async function roundTrip(
  service: RestService,
  module: AnyClient,
  clientName: string,
  strings: readonly string[],
  except: ReadonlySet<string> = new Set(),
): Promise<number> {
  const protocol = restProtocol(service);
  let captured: CapturedRequest | undefined;
  let respond: () => unknown = () => undefined;
  const client = new module[clientName]({
    region: "ap-southeast-2",
    endpoint: "https://localhost:9999",
    credentials: { accessKeyId: "AKIATEST", secretAccessKey: "secret" },
    forcePathStyle: true,
    disableHostPrefix: true,
    maxAttempts: 1,
    requestChecksumCalculation: "WHEN_REQUIRED",
    responseChecksumValidation: "WHEN_REQUIRED",
    requestHandler: {
      handle: (request: CapturedRequest) => {
        captured = request;
        return Promise.resolve({ response: respond() });
      },
    },
  });
  const generator = new RestGenerator(strings);
  const failures: string[] = [];
  let operations = 0;
  for (const schema of operationsOf(module)) {
    const operation = service.operations.find((one) => one.name === schema.name)!;
    if (except.has(schema.name)) continue;
    operations++;
    const input = adapt(generator.of(schema.input));
    const output = adapt(generator.of(schema.output));
    if (schema.name === "GetBucketLocation") output.LocationConstraint = "ap-southeast-2";
    const answer = protocol.writeAnswer(operation, JSON.parse(JSON.stringify(asJson(output))), "r");
    const binding = operation.output?.payload?.binding;
    const streams = binding?.in === "payload" && binding.streaming;
    respond = () => ({
      statusCode: answer.status,
      headers: { ...answer.headers },
      body: streams
        ? new Response(answer.body as Uint8Array<ArrayBuffer>).body
        : bytesOf(answer.body as string | Uint8Array | undefined) ?? new Uint8Array(0),
    });
    try {
      const { $metadata: _, ...decoded } = await client.send(
        new module[`${schema.name}Command`](structuredClone(input)),
      );
      for (const [name, value] of Object.entries<AnyClient>(decoded)) {
        if (typeof value?.transformToByteArray === "function") {
          decoded[name] = await value.transformToByteArray();
        }
        if (touchedByClient.test(name)) delete decoded[name];
      }
      assert.deepEqual(JSON.parse(JSON.stringify(asJson(decoded))), asJson(output));
    } catch (error) {
      failures.push(`${schema.name} response: ${(error as Error).stack?.slice(0, 900)}`);
    }
    try {
      const headers = new Headers(captured!.headers);
      for (const without of ["", "x-id"]) {
        const target = targetOf(captured!, without);
        const routed = protocol.route(captured!.method, target, headers)?.name;
        // Without the SDK's hint these two are the same call; AWS tells them apart by host.
        const expected = without !== "" && schema.name === "ListDirectoryBuckets"
          ? "ListBuckets"
          : schema.name;
        assert.equal(routed, expected, `${captured!.method} ${target}`);
      }
      const target = targetOf(captured!);
      const body = bytesOf(captured!.body);
      const call = asJson(protocol.readCall(operation, { target, headers, body })) as AnyClient;
      for (const name of Object.keys(call)) {
        if (name.startsWith("Checksum") && !(name in input)) delete call[name];
      }
      assert.deepEqual(call, asJson(input));
    } catch (error) {
      failures.push(`${schema.name} request: ${(error as Error).stack?.slice(0, 900)}`);
    }
  }
  assert.deepEqual(failures.slice(0, 5), [], `${failures.length} failures`);
  return operations;
}

for (const [kind, strings] of [["plain", plain], ["nasty", nasty]] as const) {
  Deno.test(`111 of 112 S3 operations round-trip through the official SDK with ${kind} strings`, async () => {
    // Its answer is a stream of events.
    const except = new Set(["SelectObjectContent"]);
    assert.equal(await roundTrip(ofS3, s3, "S3Client", strings, except), 111);
  });

  Deno.test(`all 6 EBS operations round-trip with ${kind} strings`, async () => {
    assert.equal(await roundTrip(ofEbs, ebs, "EBSClient", strings), 6);
  });
}

const operationOf = (service: RestService, name: string): RestOperation =>
  service.operations.find((one) => one.name === name)!;

interface HostileCall {
  target: string;
  headers?: Record<string, string>;
  body?: string | Uint8Array;
}

function refusal(service: RestService, name: string, call: HostileCall): string {
  const { target, headers, body } = call;
  const request = { target, headers: new Headers(headers), body: bytesOf(body) };
  try {
    restProtocol(service).readCall(operationOf(service, name), request);
  } catch (error) {
    if (error instanceof AwsError) return `${error.code} ${error.status} ${error.message}`;
    throw error;
  }
  return "accepted";
}

Deno.test("each bad part of a JSON call is refused with its whole path", () => {
  const start = (body: string | Uint8Array, headers = {}) =>
    refusal(ofEbs, "StartSnapshot", { target: "/snapshots", headers, body });
  for (
    const [body, expected] of [
      ['{"VolumeSize":1}', /^accepted$/],
      ['{"VolumeSize":1,"Description":null}', /^accepted$/],
      ["", /^ValidationException 400 .*VolumeSize/],
      ["{}", /^ValidationException 400 .*VolumeSize/],
      ['{"VolumeSize":null}', /^ValidationException .*must contain.*VolumeSize/],
      ["{", /^SerializationException 400 /],
      ["[]", /^SerializationException /],
      ["null", /^SerializationException /],
      ['"x"', /^SerializationException /],
      ['{"VolumeSize":1,"Nope":1}', /^ValidationException .*'Nope'/],
      ['{"VolumeSize":1,"__proto__":{"x":1}}', /^ValidationException .*'__proto__'/],
      ['{"VolumeSize":1,"toString":1}', /^ValidationException .*'toString'/],
      ['{"VolumeSize":"1"}', /^ValidationException .*VolumeSize.*whole number/],
      ['{"VolumeSize":1.5}', /^ValidationException .*VolumeSize.*whole number/],
      ['{"VolumeSize":1e400}', /^ValidationException .*VolumeSize/],
      ['{"VolumeSize":1,"Encrypted":"true"}', /^ValidationException .*Encrypted.*true or false/],
      ['{"VolumeSize":1,"Tags":{}}', /^ValidationException .*Tags.*list was expected/],
      ['{"VolumeSize":1,"Tags":[1]}', /^ValidationException .*Tags\.1.*structure was expected/],
      ['{"VolumeSize":1,"Tags":[null]}', /^ValidationException .*Tags\.1/],
      ['{"VolumeSize":1,"Tags":[{},{"Key":7}]}', /^ValidationException .*Tags\.2\.Key/],
      ['{"VolumeSize":1,"Tags":[{"Nope":7}]}', /^ValidationException .*'Tags\.1\.Nope'/],
      ['{"VolumeSize":1,"Description":"a\\u0000"}', /^ValidationException .*Description/],
      ['{"VolumeSize":1,"Description":"\\ud800"}', /^ValidationException .*Description/],
      [`{"VolumeSize":1,"Tags":${"[".repeat(100_000)}${"]".repeat(100_000)}}`, /^Validation/],
      ["[".repeat(5_000_000), /^SerializationException /],
      [`{"VolumeSize":1,"Tags":${'{"a":'.repeat(200_000)}`, /^SerializationException /],
      [new Uint8Array([0x7b, 0xff, 0x7d]), /^SerializationException .*UTF-8/],
      [new Uint8Array(largestDocument_bytes + 1), /^RequestEntityTooLargeException 413 /],
    ] as const
  ) assert.match(start(body), expected, String(body).slice(0, 80));
  assert.match(
    start('{"VolumeSize":1}', { "content-type": "text/xml" }),
    /^UnsupportedMediaTypeException 415 /,
  );
  assert.equal(
    start('{"VolumeSize":1}', { "content-type": "application/json; charset=utf-8" }),
    "accepted",
  );
});

Deno.test("each bad label, query parameter and header is refused with its name", () => {
  const list = "/snapshots/s/blocks";
  const put = "/snapshots/s/blocks/1";
  const right = {
    "x-amz-data-length": "4",
    "x-amz-checksum": "x",
    "x-amz-checksum-algorithm": "SHA256",
  };
  for (
    const [name, target, headers, expected] of [
      ["ListSnapshotBlocks", `${list}?maxResults=5`, {}, /^accepted$/],
      ["ListSnapshotBlocks", `${list}?X-Amz-Signature=0&x-id=ListSnapshotBlocks`, {}, /^accepted$/],
      ["ListSnapshotBlocks", `${list}?maxResults=5.5`, {}, /^Validation.*'5\.5'.*maxResults/],
      ["ListSnapshotBlocks", `${list}?maxResults=`, {}, /^Validation.*maxResults/],
      [
        "ListSnapshotBlocks",
        `${list}?maxResults=5&maxResults=6`,
        {},
        /^Validation.*more than once/,
      ],
      ["ListSnapshotBlocks", `${list}?Nope=1`, {}, /^Validation.*'Nope'/],
      ["ListSnapshotBlocks", `${list}?__proto__=1`, {}, /^Validation.*__proto__/],
      ["ListSnapshotBlocks", `${list}?pageToken=%zz`, {}, /^Validation.*percent-encoded/],
      ["ListSnapshotBlocks", `${list}?pageToken=%ff`, {}, /^Validation.*percent-encoded/],
      ["ListSnapshotBlocks", `${list}?pageToken=%00`, {}, /^Validation.*pageToken/],
      ["ListSnapshotBlocks", `${list}?${"a=1&".repeat(2_000)}`, {}, /^Validation.*too many/],
      ["ListSnapshotBlocks", "/snapshots/%ff/blocks", {}, /^Validation.*percent-encoded/],
      ["GetSnapshotBlock", put, {}, /^Validation.*must contain.*blockToken/],
      ["GetSnapshotBlock", "/snapshots/s/blocks/x?blockToken=t", {}, /^Validation.*BlockIndex/],
      ["PutSnapshotBlock", put, {}, /^Validation.*must contain/],
      ["PutSnapshotBlock", put, right, /^accepted$/],
      ["PutSnapshotBlock", put, { ...right, "x-amz-data-length": "4k" }, /^Val.*data-length/],
      ["PutSnapshotBlock", put, { ...right, "x-amz-checksum": "" }, /^accepted$/],
    ] as const
  ) assert.match(refusal(ofEbs, name, { target, headers, body: "data" }), expected, target);
  for (
    const [headers, expected] of [
      [{ "if-modified-since": "Sat, 21 Nov 2026 10:00:00 GMT" }, /^accepted$/],
      [
        { "if-modified-since": "yesterday" },
        /^InvalidArgument.*if-modified-since.*time such as Sat/,
      ],
      [{ "if-modified-since": "2026-11-21T10:00:00Z" }, /^InvalidArgument/],
    ] as const
  ) assert.match(refusal(ofS3, "GetObject", { target: "/b/k", headers }), expected);
  assert.match(
    refusal(ofS3, "GetObjectAttributes", {
      target: "/b/k?attributes",
      headers: { "x-amz-object-attributes": 'ETag, "open' },
    }),
    /^InvalidArgument.*not a list/,
  );
});

Deno.test("each bad element of an XML call is refused with its whole path", () => {
  const tags = (inner: string) => `<Tagging><TagSet>${inner}</TagSet></Tagging>`;
  const tag = "<Tag><Key>k</Key><Value>v</Value></Tag>";
  for (
    const [body, expected] of [
      [tags(tag), /^accepted$/],
      [`\ufeff<?xml version="1.0"?>\n<!-- c -->${tags(tag)}`, /^accepted$/],
      [`<Tagging xmlns="x"> <TagSet xmlns:y="z">${tag} ${tag}</TagSet> </Tagging>`, /^accepted$/],
      ["<Tagging><TagSet/></Tagging>", /^accepted$/],
      ["", /^InvalidRequest 400 .*Tagging/],
      ["<Tagging/>", /^InvalidRequest .*Tagging\.TagSet/],
      ["<Nope/>", /^MalformedXML /],
      ["<__proto__><TagSet/></__proto__>", /^MalformedXML /],
      ["Tagging", /^MalformedXML /],
      ["<Tagging>", /^MalformedXML /],
      ["<Tagging><TagSet></Tagging></TagSet>", /^MalformedXML /],
      [`<!DOCTYPE a [<!ENTITY e "x">]>${tags(tag)}`, /^MalformedXML /],
      [`<?a > <b ?><!doctype a>${tags(tag)}`, /^MalformedXML /],
      ["<!DOCTYPE>".repeat(100_000), /^MalformedXML /],
      ["<a>".repeat(100_000), /^MalformedXML /],
      [tags("<Nope/>"), /^InvalidArgument .*'Tagging\.TagSet\.Nope'/],
      [tags("text"), /^InvalidArgument .*Tagging\.TagSet.*list was expected/],
      [tags("<Tag><Key>k</Key></Tag>"), /^InvalidRequest .*Tagging\.TagSet\.1\.Value/],
      [tags(`${tag}<Tag>x</Tag>`), /^InvalidArgument .*Tagging\.TagSet\.2.*structure/],
      [tags(`${tag}<Tag><Key>k</Key><Value>v</Value><__proto__/></Tag>`), /\.2\.__proto__'/],
      [tags("<Tag><toString>k</toString></Tag>"), /^InvalidArgument .*\.1\.toString'/],
      [tags("<Tag><Key>a</Key><Key>b</Key><Value>v</Value></Tag>"), /Key.*more than once/],
      [tags("<Tag><Key><a/></Key><Value>v</Value></Tag>"), /^InvalidArgument .*\.1\.Key\.a'/],
      [tags("<Tag><Key>&#0;</Key><Value>v</Value></Tag>"), /^InvalidArgument .*\.1\.Key/],
      [new Uint8Array(largestDocument_bytes + 1), /^MaxMessageLengthExceeded 413 /],
    ] as const
  ) {
    const said = refusal(ofS3, "PutBucketTagging", { target: "/b?tagging", body });
    assert.match(said, expected, String(body).slice(0, 80));
  }
});

Deno.test("what is called __proto__ in a map stays a plain key", () => {
  const request = { target: "/b/k", headers: new Headers({ "x-amz-meta-__proto__": "x" }) };
  const operation = operationOf(ofS3, "PutObject");
  const input = restProtocol(ofS3).readCall(operation, { ...request, body: undefined });
  assert.equal(JSON.stringify(input.Metadata), '{"__proto__":"x"}');
  assert.equal(Object.getPrototypeOf(input.Metadata), null);
});

Deno.test("the answer to GetBucketLocation is the text of its root, as AWS writes it", () => {
  const operation = operationOf(ofS3, "GetBucketLocation");
  const answer = restProtocol(ofS3).writeAnswer(operation, { LocationConstraint: "a&b" }, "r");
  assert.match(
    String(answer.body),
    /<LocationConstraint xmlns="http:\/\/s3\.amazonaws\.com\/doc\/2006-03-01\/">a&amp;b<\/Loc/,
  );
});

Deno.test("what neither S3 nor EBS has works too: free queries, unions, maps, status, other names", () => {
  const strings = [2, "t", "Strings", 0, 0, 0];
  const flat = [() => strings, { xmlFlattened: 1, xmlName: "Flat" }];
  const either = [4, "t", "Either", 0, ["A", "B"], [0, 1]];
  const names = ["Path", "Free", "Named", "Either", "Map", "Flat", "At"];
  const named = [0, { jsonName: "named", xmlName: "named" }];
  const free = [() => strings, { httpQueryParams: 1 }];
  const members = [[0, 1], free, named, () => either, () => strings, flat, 6];
  const input = [3, "t", "In", 0, names, members, 1];
  const outNames = ["Code", ...names.slice(2)];
  const output = [3, "t", "Out", 0, outNames, [[1, 32], ...members.slice(2)]];
  const client = { a: [9, "t", "Do", { http: ["POST", "/v1/{Path+}/end", 200] }, input, output] };
  const written = { Named: "n", Either: { B: 2 }, Map: { k: "v" }, Flat: { f: "g", h: "i" } };
  const at = "2026-11-21T10:00:00.000Z";
  for (const protocol of ["restJson1", "restXml"] as const) {
    const service = new RestService("t", client, { protocol });
    const rest = restProtocol(service);
    const operation = rest.route("POST", "/v1/a/b%2Fc/end?x=1&__proto__=2")!;
    assert.equal(operation.name, "Do");
    const answer = rest.writeAnswer(operation, { Code: 207, ...written, At: at }, "r");
    assert.equal(answer.status, 207);
    const text = String(answer.body).replace("<Out>", "<In>").replace("</Out>", "</In>");
    const call = {
      target: "/v1/a/b%2Fc/end?x=1&__proto__=2",
      body: bytesOf(text),
      headers: new Headers(),
    };
    const free = JSON.parse('{"x":"1","__proto__":"2"}');
    const read = rest.readCall(operation, call);
    assert.deepEqual(asJson(read.Free), asJson(free));
    assert.deepEqual(asJson({ ...read, Free: 0 }), { Path: "a/b/c", Free: 0, ...written, At: at });
    const refused = (body: string) => refusal(service, "Do", { target: "/v1/a/end", body });
    assert.match(
      protocol === "restXml"
        ? refused("<In><Either><A>x</A><B>1</B></Either></In>")
        : refused('{"Either":{"A":"x","B":1}}'),
      /Either is invalid\. Exactly one/,
    );
    assert.equal(rest.route("POST", "/v1/end"), undefined);
    assert.equal(rest.route("POST", "/v1/a/b"), undefined);
  }
});

Deno.test("a streamed payload is handed over untouched", () => {
  const stream = new ReadableStream<Uint8Array>();
  const request = { target: "/b/k", headers: new Headers(), body: stream };
  const protocol = restProtocol(ofS3);
  assert.equal(protocol.readCall(operationOf(ofS3, "PutObject"), request).Body, stream);
  const answer = protocol.writeAnswer(operationOf(ofS3, "GetObject"), { Body: stream }, "r");
  assert.equal(answer.body, stream);
  assert.equal(answer.headers["content-type"], "application/octet-stream");
});

Deno.test("the most literal path, then the most complete call is meant", () => {
  const named = (service: RestService, method: string, target: string, headers = {}) =>
    restProtocol(service).route(method, target, new Headers(headers))?.name;
  for (
    const [method, target, expected] of [
      ["GET", "/", "ListBuckets"],
      ["GET", "/b", "ListObjects"],
      ["GET", "/b/", "ListObjects"],
      ["GET", "/b?list-type=2&prefix=p", "ListObjectsV2"],
      ["GET", "/b?list-type=3", "ListObjects"],
      ["GET", "/b//", "GetObject"],
      ["GET", "/b/a/b/", "GetObject"],
      ["GET", "/b/k?uploadId=u", "ListParts"],
      ["GET", "/b/k?acl", "GetObjectAcl"],
      ["GET", "/b?analytics", "ListBucketAnalyticsConfigurations"],
      ["GET", "/b?analytics&id=1", "GetBucketAnalyticsConfiguration"],
      ["PUT", "/b/k", "PutObject"],
      ["PUT", "/b/k?partNumber=1&uploadId=u", "UploadPart"],
      ["PUT", "/b/k?x-id=UploadPart", "UploadPart"],
      ["POST", "/WriteGetObjectResponse", "WriteGetObjectResponse"],
      ["DELETE", "/b/k", "DeleteObject"],
      ["PATCH", "/b/k", undefined],
      ["get", "/b/k", undefined],
      ["PUT", "/", undefined],
    ] as const
  ) assert.equal(named(ofS3, method, target), expected, `${method} ${target}`);
  const copy = { "x-amz-copy-source": "a/b" };
  assert.equal(named(ofS3, "PUT", "/b/k", copy), "CopyObject");
  assert.equal(named(ofS3, "PUT", "/b/k?partNumber=1&uploadId=u", copy), "UploadPartCopy");
  for (
    const [method, target, expected] of [
      ["POST", "/snapshots", "StartSnapshot"],
      ["POST", "/snapshots/completion/s", "CompleteSnapshot"],
      ["PUT", "/snapshots/s/blocks/0", "PutSnapshotBlock"],
      ["GET", "/snapshots/s/blocks/0", "GetSnapshotBlock"],
      ["GET", "/snapshots//blocks", undefined],
      ["GET", "/snapshots/s/blocks/0/more", undefined],
      ["GET", "/", undefined],
      ["GET", "", undefined],
    ] as const
  ) assert.equal(named(ofEbs, method, target), expected, `${method} ${target}`);
});

Deno.test("errors come back as the SDK's own exceptions", async () => {
  const error = new AwsError("NoSuchBucket", "There is no 'b-<&>'", { status: 404 });
  const plainXml = new RestService("s3", s3, { protocol: "restXml", xml_namespace: "x" });
  for (
    const [service, module, clientName, command, input] of [
      [ofS3, s3, "S3Client", "ListObjectsV2Command", { Bucket: "b" }],
      [plainXml, s3, "S3Client", "ListObjectsV2Command", { Bucket: "b" }],
      [ofEbs, ebs, "EBSClient", "ListSnapshotBlocksCommand", { SnapshotId: "s" }],
    ] as const
  ) {
    const answer = restProtocol(service).writeError(error, "req-7", "/b<");
    const anyModule: AnyClient = module;
    const client = new anyModule[clientName]({
      region: "x",
      maxAttempts: 1,
      credentials: { accessKeyId: "a", secretAccessKey: "b" },
      requestHandler: {
        handle: () =>
          Promise.resolve({
            response: {
              statusCode: answer.status,
              headers: { ...answer.headers },
              body: bytesOf(answer.body as string),
            },
          }),
      },
    });
    await assert.rejects(client.send(new anyModule[command](input)), {
      name: "NoSuchBucket",
      message: "There is no 'b-<&>'",
    });
  }
});

Deno.test("an answer of the wrong kind is a fault that names its place", () => {
  const write = (service: RestService, name: string, output: unknown) => () =>
    restProtocol(service).writeAnswer(operationOf(service, name), output, "r");
  assert.throws(write(ofEbs, "ListSnapshotBlocks", { Blocks: "x" }), /Blocks must be a list/);
  assert.throws(
    write(ofEbs, "ListSnapshotBlocks", { Blocks: [{ BlockIndex: "1" }] }),
    /Blocks\.BlockIndex must be a number/,
  );
  assert.throws(write(ofEbs, "StartSnapshot", { StartTime: "soon" }), /StartTime must be a time/);
  assert.throws(write(ofS3, "GetBucketTagging", { TagSet: [7] }), /TagSet must be a structure/);
  assert.throws(write(ofS3, "HeadObject", { ETag: "a\r\nb: c" }), /ETag.*no header/);
  assert.throws(write(ofS3, "SelectObjectContent", {}), { code: "NotImplemented" });
  assert.deepEqual(write(ofEbs, "StartSnapshot", { Unknown: 1, OwnerId: null })(), {
    status: 201,
    headers: { "content-type": "application/json", "x-amzn-requestid": "r" },
    body: "{}",
  });
});

Deno.test("no document, however broken, fails otherwise than with an AwsError", () =>
  seeded((source) => {
    const random = (below: number) => source.below(below);
    const words = ["<Tagging>", "<TagSet>", "<Tag>", "<Key>", "</Key>", "</Tag>", "</TagSet>", "k"]
      .concat("</Tagging>", "<__proto__/>", "<a x='", "'", "<![CDATA[", "]]>", "<!--", "-->", "&#x")
      .concat(
        "{",
        "}",
        '"Tags"',
        ":",
        "[",
        "]",
        ",",
        '"__proto__"',
        '"Key"',
        "1",
        "null",
        "\u{1f600}",
      );
    for (let round = 0; round < 5_000; round++) {
      let body = round % 2 === 0 ? "<Tagging><TagSet>" : '{"VolumeSize":1,"Tags":[';
      for (let n = random(12); n > 0; n--) body += words[random(words.length)];
      refusal(ofS3, "PutBucketTagging", { target: "/b?tagging", body });
      refusal(ofEbs, "StartSnapshot", { target: "/snapshots", body });
    }
  }));
