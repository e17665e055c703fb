/** Forms that browsers post, with a file and the policy that the site's owner signed. */
import {
  GetObjectCommand,
  GetObjectTaggingCommand,
  HeadObjectCommand,
  ListObjectsV2Command,
} from "@aws-sdk/client-s3";
import assert from "node:assert/strict";
import { createHash, createHmac } from "node:crypto";
import { deriveSigningKey } from "../../services/aws/signatures/sigv4.ts";
import { accounts, type TestPredastore } from "../kit/predastore.ts";
import { keptAlive, refused, textOf, withPredastore } from "./steps.ts";

const Bucket = "bucket";
const mayHave = ["success_action_status", "x-amz-meta-from", "x-amz-storage-class", "tagging"];

interface FormOptions {
  /** What the form has for a policy, instead of one that is made of the rest. */
  readonly policy?: string;
  /** Undefined for a file that has no name. */
  readonly file_name?: string | undefined;
  readonly content_type?: string;
  readonly key?: string;
  readonly conditions?: readonly unknown[];
  /** Undefined for one that the form does not have. */
  readonly fields?: Readonly<Record<string, string | undefined>>;
  readonly content?: string | Uint8Array<ArrayBuffer>;
  readonly expires_ms?: number;
  readonly secret?: string;
}

/** Posts a form as a browser does that was given a signed policy. */
async function post(test: TestPredastore, options: FormOptions = {}): Promise<Response> {
  const now = new Date().toISOString().replace(/[-:]|\.\d+/g, "");
  const scope = { date: now.slice(0, 8), region: test.node.config.region, service: "s3" };
  const credential = `AKIATEST/${scope.date}/${scope.region}/s3/aws4_request`;
  const policy = options.policy ?? Buffer.from(JSON.stringify({
    expiration: new Date(Date.now() + (options.expires_ms ?? 60_000)).toISOString(),
    conditions: options.conditions ?? [
      { bucket: Bucket },
      ["starts-with", "$key", "form/"],
      ["starts-with", "$Content-Type", "text/"],
      ["content-length-range", 1, 1000],
      { "x-amz-algorithm": "AWS4-HMAC-SHA256" },
      { "x-amz-credential": credential },
      { "x-amz-date": now },
      // A condition on a field that the form does not have would not hold.
      ...mayHave.filter((name) => options.fields?.[name] !== undefined)
        .map((name) => ["starts-with", `$${name}`, ""]),
    ],
  })).toString("base64");
  const key = deriveSigningKey(options.secret ?? accounts.AKIATEST.secret, scope);
  const form = new FormData();
  const fields = {
    key: options.key ?? "form/${filename}",
    "Content-Type": "text/plain",
    "x-amz-algorithm": "AWS4-HMAC-SHA256",
    "x-amz-credential": credential,
    "x-amz-date": now,
    policy,
    "x-amz-signature": createHmac("sha256", key).update(policy).digest("hex"),
    ...options.fields,
  };
  for (const [name, value] of Object.entries(fields)) {
    if (value !== undefined) form.set(name, value);
  }
  const content = options.content ?? "hello";
  const named = !("file_name" in options) || options.file_name !== undefined;
  if (named) form.set("file", new Blob([content], { type: "text/plain" }), "a b.txt");
  else form.set("file", String(content));
  const client = Deno.createHttpClient({ caCerts: [test.ca] });
  try {
    const reply = await fetch(`${test.endpoint}/${Bucket}`, {
      method: "POST",
      ...(options.content_type === undefined
        ? { body: form }
        : { body: "a=b", headers: { "content-type": options.content_type } }),
      client,
      redirect: "manual",
    });
    const body = await reply.text();
    return new Response(reply.status === 204 || reply.status === 303 ? null : body, reply);
  } finally {
    client.close();
  }
}

Deno.test({
  name: "forms that browsers post are S3's",
  ...keptAlive,
  fn: (t) =>
    withPredastore(t, {
      "form upload: a browser's file is stored as its policy allows": async (s3, test) => {
        const plain = await post(test, { fields: { "x-amz-meta-from": "form" } });
        assert.equal(plain.status, 204);
        assert.equal(await textOf(s3, Bucket, "form/a b.txt"), "hello");
        const head = await s3.send(new HeadObjectCommand({ Bucket, Key: "form/a b.txt" }));
        assert.equal(head.ContentType, "text/plain");
        assert.deepEqual(head.Metadata, { from: "form" });
        const made = await post(test, {
          key: "form/201",
          fields: { success_action_status: "201" },
        });
        assert.equal(made.status, 201);
        assert.match(await made.text(), /<Key>form\/201<\/Key>/);
      },

      "form upload: tags, and metadata that no header can have": async (s3, test) => {
        const tag = (Key: string, Value: string) =>
          `<Tag><Key>${Key}</Key><Value>${Value}</Value></Tag>`;
        const tagging = `<Tagging><TagSet>${tag("team", "a &amp; b")}</TagSet></Tagging>`;
        const conditions = [
          { bucket: Bucket },
          ["starts-with", "$key", ""],
          ...["Content-Type", "tagging", "x-amz-algorithm", "x-amz-credential", "x-amz-date"].map((
            name,
          ) => ["starts-with", `$${name}`, ""]),
          ...["text", "lines", "plain"].map((name) => ["starts-with", `$x-amz-meta-${name}`, ""]),
        ];
        const fields = {
          "x-amz-meta-text": "grün ☂",
          "x-amz-meta-lines": "a\r\nb",
          "x-amz-meta-plain": "plain",
        };
        const key = "form/tagged";
        const bad = await post(test, { key, conditions, fields: { ...fields, tagging: "<T>" } });
        assert.equal(bad.status, 400);
        assert.match(await bad.text(), /<Code>MalformedXML<\/Code>/);
        assert.equal(
          (await post(test, {
            key,
            conditions,
            fields: { ...fields, tagging: tagging.replace("a &amp; b", "a+b") },
          })).status,
          204,
        );
        const { TagSet } = await s3.send(new GetObjectTaggingCommand({ Bucket, Key: key }));
        assert.deepEqual(TagSet, [{ Key: "team", Value: "a+b" }]);
        const head = await s3.send(new HeadObjectCommand({ Bucket, Key: key }));
        assert.deepEqual(head.Metadata, {
          plain: "plain",
          text: `=?UTF-8?B?${Buffer.from("grün ☂").toString("base64")}?=`,
        });
        assert.equal(head.MissingMeta, 1);
      },

      "form upload: storage classes: a field of the form says which": async (s3, test) => {
        const asked = { key: "form/class", fields: { "x-amz-storage-class": "ONEZONE_IA" } };
        assert.equal((await post(test, asked)).status, 204);
        const head = await s3.send(new HeadObjectCommand({ Bucket, Key: "form/class" }));
        assert.equal(head.StorageClass, "ONEZONE_IA");
        const none = await post(test, { ...asked, fields: { "x-amz-storage-class": "GLACIER" } });
        assert.equal(none.status, 400);
        assert.match(await none.text(), /<Code>InvalidStorageClass<\/Code>/);
      },

      "form upload: what the policy does not allow is refused and stores nothing": async (
        s3,
        test,
      ) => {
        const cases: readonly (readonly [FormOptions, number, string])[] = [
          [{ key: "elsewhere/x" }, 403, "AccessDenied"],
          [{ expires_ms: -1000 }, 403, "AccessDenied"],
          [{ secret: "wrong" }, 403, "SignatureDoesNotMatch"],
          [{ content: "x".repeat(1001) }, 400, "EntityTooLarge"],
          [{ content: "" }, 400, "EntityTooSmall"],
          [{ fields: { "x-amz-meta-unnamed": "x" } }, 403, "AccessDenied"],
          [{ fields: { "Content-Type": "image/png" } }, 403, "AccessDenied"],
          [{ fields: { "x-amz-credential": "AKIATEST/x" } }, 400, "InvalidArgument"],
        ];
        for (const [options, status, code] of cases) {
          const answer = await post(test, { key: "form/refused", ...options });
          const text = await answer.text();
          assert.equal(answer.status, status, text);
          assert.match(text, new RegExp(`<Code>${code}</Code>`));
        }
        const { Contents } = await s3.send(
          new ListObjectsV2Command({ Bucket, Prefix: "form/refused" }),
        );
        assert.equal(Contents, undefined);
      },

      "form upload: tags come as a document, and a file may have no name": async (s3, test) => {
        const tagged = {
          key: "form/tagged",
          fields: {
            tagging: "<Tagging><TagSet><Tag><Key>a</Key><Value>1</Value></Tag></TagSet></Tagging>",
          },
        };
        assert.equal((await post(test, tagged)).status, 204);
        const { TagSet } = await s3.send(
          new GetObjectTaggingCommand({ Bucket, Key: "form/tagged" }),
        );
        assert.deepEqual(TagSet, [{ Key: "a", Value: "1" }]);
        // AWS takes a document about something else, and finds no tags in it.
        const other = { ...tagged, fields: { tagging: "<Other></Other>" } };
        assert.equal((await post(test, other)).status, 204);
        const none = await s3.send(new GetObjectTaggingCommand({ Bucket, Key: "form/tagged" }));
        assert.deepEqual(none.TagSet, []);
        const wrong = await post(test, { ...tagged, fields: { tagging: "a=1" } });
        assert.match(await wrong.text(), /<Code>MalformedXML<\/Code>/);
        const nameless = await post(test, { key: "form/${filename}", file_name: undefined });
        assert.equal(nameless.status, 204);
        assert.equal(await textOf(s3, Bucket, "form/"), "hello");
      },

      "form upload: a client's own key seals the file, and keys of KMS's are refused": async (
        s3,
        test,
      ) => {
        const sse = "x-amz-server-side-encryption";
        const secret = new Uint8Array(32).fill(7);
        const customers = {
          [`${sse}-customer-algorithm`]: "AES256",
          [`${sse}-customer-key`]: secret.toBase64(),
          [`${sse}-customer-key-md5`]: createHash("md5").update(secret).digest("base64"),
        };
        const told = async (fields: Record<string, string>) => {
          const named = [
            "key",
            "Content-Type",
            "x-amz-algorithm",
            "x-amz-credential",
            "x-amz-date",
            ...Object.keys(fields),
          ];
          const conditions = [
            { bucket: Bucket },
            ...named.map((name) => ["starts-with", `$${name}`, ""]),
          ];
          const answer = await post(test, { key: "form/sealed", conditions, fields });
          return `${answer.status} ${await answer.text()}`;
        };
        assert.match(
          await told({ ...customers, [`${sse}-customer-key`]: new Uint8Array(32).toBase64() }),
          /^400 .*<Code>InvalidArgument</s,
        );
        assert.match(
          await told({ ...customers, [sse]: "AES256" }),
          /^400 .*<Code>InvalidArgument</s,
        );
        assert.match(
          await told({ [`${sse}-aws-kms-key-id`]: "k" }),
          /^400 .*<Code>InvalidArgument</s,
        );
        const { Contents } = await s3.send(
          new ListObjectsV2Command({ Bucket, Prefix: "form/sealed" }),
        );
        assert.equal(Contents, undefined);
        assert.match(await told(customers), /^204 /);
        await refused(textOf(s3, Bucket, "form/sealed"), "InvalidRequest", 400);
        const { Body, SSECustomerKeyMD5, ETag } = await s3.send(
          new GetObjectCommand({
            Bucket,
            Key: "form/sealed",
            SSECustomerAlgorithm: "AES256",
            SSECustomerKey: Buffer.from(secret).toString("base64"),
            SSECustomerKeyMD5: customers[`${sse}-customer-key-md5`],
          }),
        );
        assert.equal(await Body?.transformToString(), "hello");
        assert.equal(SSECustomerKeyMD5, customers[`${sse}-customer-key-md5`]);
        assert.notEqual(ETag, `"${createHash("md5").update("hello").digest("hex")}"`);
      },

      "form upload: what a refusal tells": async (_, test) => {
        const told = async (options: FormOptions) => {
          const answer = await post(test, { key: "form/refused", ...options });
          return `${answer.status} ${await answer.text()}`;
        };
        assert.match(
          await told({ content: "x".repeat(1001) }),
          /<ProposedSize>1001<\/ProposedSize><MaxSizeAllowed>1000<\/MaxSizeAllowed>/,
        );
        assert.match(
          await told({ content: "" }),
          /<ProposedSize>0<\/ProposedSize><MinSizeAllowed>1<\/MinSizeAllowed>/,
        );
        assert.match(
          await told({ key: "elsewhere/x" }),
          /Policy Condition failed: \[&quot;starts-with&quot;, &quot;\$key&quot;, &quot;form\/&quot;\]/,
        );
        assert.match(
          await told({ conditions: [["eq", "key", "form/refused"]] }),
          /^403 .*Policy Condition failed: \[&quot;eq&quot;, &quot;key&quot;/s,
        );
        assert.match(
          await told({ conditions: [["content-length-range", "test", "10"]] }),
          /^403 .*<Code>AccessDenied<.*Policy Condition failed: \[&quot;content-length-range&quot;, &quot;test&quot;, &quot;10&quot;\]/s,
        );
        assert.match(
          await told({ conditions: [{ bucket: Bucket, key: "form/refused" }] }),
          /^400 .*<Code>InvalidPolicyDocument<\/Code>.*exactly one property/s,
        );
        const policies = [
          ["!", "invalid Base64 encoding."],
          [btoa("nonsense"), "Invalid JSON."],
          [btoa("{}"), "Policy missing expiration."],
          [btoa('{"expiration":"2099-01-01 00:00:00"}'), "Invalid 'expiration' value: '2099-"],
          [btoa('{"expiration":"2099-01-01T00:00:00Z"}'), "Policy missing conditions."],
          [btoa('{"expiration":"2099-01-01T00:00:00Z","conditions":{}}'), "must be a List."],
        ] as const;
        for (const [policy, why] of policies) {
          const text = await told({ policy });
          assert.match(text, /^400 .*<Code>InvalidPolicyDocument<\/Code>/s);
          assert.ok(text.includes(`Invalid Policy: `) && text.includes(why), text);
        }
        const conditions = [
          [["content-length-range", 0], "Invalid content-length-range: wrong number of arguments."],
          [["ends-with", "$key", "x"], "Invalid Condition: unknown operation 'ends-with'."],
          ["key", "Invalid condition test: must be a List or Object."],
        ] as const;
        for (const [condition, why] of conditions) {
          assert.ok((await told({ conditions: [condition] })).includes(why), why);
        }
        assert.match(
          await told({ content_type: "application/x-www-form-urlencoded" }),
          /^412 .*<Condition>Bucket POST must be of the enclosure-type multipart\/form-data</s,
        );
      },

      "form upload: the file's name is in every field that asks for it, before the policy looks":
        async (
          s3,
          test,
        ) => {
          const fields = { "x-amz-meta-from": "${filename}, ${filename}" };
          assert.equal((await post(test, { fields, key: "form/named/${filename}" })).status, 204);
          const head = await s3.send(
            new HeadObjectCommand({ Bucket, Key: "form/named/a b.txt" }),
          );
          assert.deepEqual(head.Metadata, { from: "a b.txt, a b.txt" });
          const own = (conditions: readonly unknown[]) => [
            { bucket: Bucket },
            ...["Content-Type", "x-amz-algorithm", "x-amz-credential", "x-amz-date"]
              .map((name) => ["starts-with", `$${name}`, ""]),
            ...conditions,
          ];
          const [asSent, asRead] = [{ key: "form/${filename}" }, { KEY: "form/a b.txt" }];
          assert.equal((await post(test, { conditions: own([asRead]) })).status, 204);
          assert.match(
            await (await post(test, { conditions: own([asSent]) })).text(),
            /failed: \[&quot;eq&quot;, &quot;\$key&quot;, &quot;form\/\${filename}&quot;\]/,
          );
        },

      "form upload: only a field says what a file's type is": async (s3, test) => {
        const scoped = ["x-amz-algorithm", "x-amz-credential", "x-amz-date"];
        for (const type of [undefined, ""]) {
          const named = type === undefined ? scoped : [...scoped, "Content-Type"];
          const conditions = [
            { bucket: Bucket },
            ...["key", ...named].map((name) => ["starts-with", `$${name}`, ""]),
          ];
          const key = `form/type-${type}`;
          const fields = { "Content-Type": type };
          assert.equal((await post(test, { key, conditions, fields })).status, 204);
          const { ContentType } = await s3.send(new HeadObjectCommand({ Bucket, Key: key }));
          assert.equal(ContentType, "binary/octet-stream");
        }
        const list = (type: string) => post(test, { fields: { "Content-Type": type } });
        assert.equal((await list("text/plain, text/html")).status, 204);
        assert.equal((await list("text/plain,image/png")).status, 403);
      },

      "form upload: a redirect is to a page, or none": async (_, test) => {
        const to = async (redirect: string) => {
          const conditions = [
            { bucket: Bucket },
            ...[
              "key",
              "Content-Type",
              "x-amz-algorithm",
              "x-amz-credential",
              "x-amz-date",
              "success_action_redirect",
            ].map((name) => ["starts-with", `$${name}`, ""]),
          ];
          const fields = { success_action_redirect: redirect };
          const { status, headers } = await post(test, { key: "form/to", conditions, fields });
          return [status, headers.get("location")] as const;
        };
        const [status, location] = await to("https://site.example/done?a=b");
        assert.equal(status, 303);
        assert.match(
          location ?? "",
          /^https:\/\/site\.example\/done\?a=b&bucket=bucket&key=form%2Fto&etag=%22[0-9a-f]{32}%22$/,
        );
        for (const none of ["javascript:alert(1)", "ftp://site.example/", "no url"]) {
          assert.equal((await to(none))[0], 204);
        }
      },

      "form upload: who signed it, and how, is refused in S3's words": async (_, test) => {
        const told = async (options: FormOptions) => {
          const answer = await post(test, { key: "form/refused", ...options });
          const text = (await answer.text()).replaceAll("&quot;", '"').replaceAll("&lt;", "<")
            .replaceAll("&gt;", ">").replaceAll("&apos;", "'");
          const of = (name: string) =>
            new RegExp(`<${name}>([^]*?)</${name}>`).exec(text)?.[1] ?? "";
          return [answer.status, of("Code"), of("Message"), of("ArgumentName"), text] as const;
        };
        const field = (name: string) =>
          `Bucket POST must contain a field named '${name}'.  If it is specified, please check the order of the fields.`;
        const version2 = { "x-amz-algorithm": undefined, "x-amz-credential": undefined };
        const old = { ...version2, "x-amz-date": undefined, "x-amz-signature": undefined };
        const scope = (text: string) => ({ "x-amz-credential": `AKIATEST/${text}` });
        const cases: readonly (readonly [FormOptions["fields"], string, string, string?])[] = [
          [{ policy: undefined }, "InvalidArgument", field("policy"), "policy"],
          ...["X-Amz-Algorithm", "X-Amz-Credential", "X-Amz-Date", "X-Amz-Signature"].map((
            name,
          ) =>
            [
              { [name.toLowerCase()]: undefined },
              "InvalidArgument",
              field(name),
              name,
            ] as const
          ),
          [
            { ...old, AWSAccessKeyId: "AKIATEST", signature: "c2ln" },
            "InvalidRequest",
            "The authorization mechanism you have provided is not supported. Please use AWS4-HMAC-SHA256.",
          ],
          [
            { ...old, signature: "c2ln" },
            "InvalidArgument",
            field("AWSAccessKeyId"),
            "AWSAccessKeyId",
          ],
          [
            { "x-amz-algorithm": "AWS4-HMAC-SHA1" },
            "InvalidArgument",
            "Only AWS4-HMAC-SHA256 is supported",
            "X-Amz-Algorithm",
          ],
          [
            scope("x"),
            "InvalidArgument",
            'the Credential is mal-formed; expecting "<YOUR-AKID>/YYYYMMDD/REGION/SERVICE/aws4_request".',
            "x-amz-credential",
          ],
          [
            scope("2026-1-1/r/s3/aws4_request"),
            "InvalidArgument",
            'incorrect date format "2026-1-1". This date in the credential must be in the format "yyyyMMdd".',
            "x-amz-credential",
          ],
          [
            scope("20260101/r/ec2/aws4_request"),
            "InvalidArgument",
            'incorrect service "ec2". This endpoint belongs to "s3".',
            "x-amz-credential",
          ],
          [
            scope("20260101/r/s3/aws5"),
            "InvalidArgument",
            'incorrect terminal "aws5". This endpoint uses "aws4_request".',
            "x-amz-credential",
          ],
          [
            { "x-amz-date": "today" },
            "InvalidArgument",
            "X-Amz-Date must be formated via ISO8601 Long format",
            "X-Amz-Date",
          ],
          [{ key: undefined }, "InvalidArgument", field("key"), "key"],
        ];
        for (const [fields, ...expected] of cases) {
          const [status, code, message, argument] = await told({ ...(fields && { fields }) });
          assert.deepEqual([status, code, message, argument], [
            400,
            expected[0],
            expected[1],
            expected[2] ?? "",
          ]);
        }
        const unknown = await told({
          fields: { "x-amz-credential": "AKIANOBODY/20260101/r/s3/aws4_request" },
        });
        assert.deepEqual(unknown.slice(0, 2), [403, "InvalidAccessKeyId"]);
        assert.match(unknown[4], /<AWSAccessKeyId>AKIANOBODY</);
        for (const options of [{ secret: "other" }, { fields: { "x-amz-signature": "Ab" } }]) {
          const [status, code, message, , text] = await told(options);
          assert.deepEqual([status, code, message], [
            403,
            "SignatureDoesNotMatch",
            "The request signature we calculated does not match the signature you provided. Check your key and signing method.",
          ]);
          assert.match(text, /<StringToSign>[\w+/=]+<.*<SignatureProvided>.*<StringToSignBytes>/s);
        }
      },

      "form upload: what is no policy, and what a policy leaves out": async (_, test) => {
        const told = async (options: FormOptions) => {
          const answer = await post(test, { key: "form/refused", ...options });
          return `${answer.status} ${
            (await answer.text()).replaceAll("&quot;", '"').replaceAll("&apos;", "'")
          }`;
        };
        const whole = (policy: unknown) => ({ policy: btoa(JSON.stringify(policy)) });
        const expiration = "2099-01-01T00:00:00Z";
        const cases: readonly (readonly [FormOptions, string])[] = [
          [whole([]), "Invalid JSON."],
          [whole({ expiration: true, conditions: [] }), "Invalid JSON."],
          [whole({ expiration, conditions: [], extra: "x" }), 'Unexpected: "extra"'],
          [whole({ EXPIRATION: expiration, conditions: [] }), "Policy missing expiration."],
          [whole({ expiration, CONDITIONS: [] }), "Policy missing conditions."],
          [{ conditions: [["content-length-range", -1, 0]] }, "Invalid JSON."],
          [{ conditions: [["content-length-range", 12, false]] }, "Invalid JSON."],
          [{ conditions: [["eq", false, "x"]] }, "Invalid JSON."],
          [{ conditions: [["eq", "$key", true]] }, "Invalid JSON."],
          [{ conditions: [[]] }, "Invalid Condition: missing operation identifier."],
          [{ conditions: [["eq", "$key"]] }, "Invalid eq: wrong number of arguments."],
          [{ conditions: [{ acl: 1 }] }, "Invalid Simple-Condition: value must be a string."],
        ];
        for (const [options, why] of cases) {
          const text = await told(options);
          assert.match(text, /^400 .*<Code>InvalidPolicyDocument<\/Code>/s, why);
          assert.ok(text.includes(`<Message>Invalid Policy: ${why}</Message>`), text);
        }
        const names = ["key", "Content-Type", "x-amz-algorithm", "x-amz-credential", "x-amz-date"]
          .map((name) => ["starts-with", `$${name}`, ""]);
        assert.match(
          await told({ conditions: names }),
          /^403 .*<Message>Invalid according to Policy: Extra input fields: bucket<\/Message>/s,
        );
        assert.match(
          await told({ conditions: [{ bucket: Bucket }, ...names, ["starts-with", "$acl", ""]] }),
          /^403 .*Policy Condition failed: \["starts-with", "\$acl", ""\]<\/Message>/s,
        );
        assert.match(
          await told({ content_type: "multipart/form-data" }),
          /^400 .*<Code>MalformedPOSTRequest<.*The body of your POST request is not well-formed multipart\/form-data\.</s,
        );
      },
    }),
});
