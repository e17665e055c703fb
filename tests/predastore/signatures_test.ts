/** Requests whose signatures are none, old or wrong, as they come over TLS: what the refusals' documents tell. */
import {
  CreateBucketCommand,
  GetObjectCommand,
  ListObjectsV2Command,
  PutObjectCommand,
} from "@aws-sdk/client-s3";
import { getSignedUrl } from "@aws-sdk/s3-request-presigner";
import assert from "node:assert/strict";
import { startPredastore, type TestPredastore } from "../kit/predastore.ts";
import { answered, assertAnswer } from "./answered.ts";
import { keptAlive } from "./steps.ts";

/** Sends a request as it is written and answers with status and document. */
async function raw(test: TestPredastore, head: string, body = "") {
  const connection = await Deno.connectTls({
    hostname: "localhost",
    port: test.node.config.ports.s3,
    caCerts: [test.ca],
  });
  const text =
    `${head}\r\nhost: localhost:${test.node.config.ports.s3}\r\nconnection: close\r\n\r\n${body}`;
  const bytes = new TextEncoder().encode(text);
  for (let at = 0; at < bytes.length;) at += await connection.write(bytes.subarray(at));
  const answer = await new Response(connection.readable).text();
  return { status: Number(answer.split(" ")[1]), headers: {}, text: answer };
}

Deno.test({
  name: "signatures: what is refused over the wire is told as S3 tells it",
  ...keptAlive,
  fn: async (t) => {
    await using test = await startPredastore();
    const s3 = test.s3();
    await s3.send(new CreateBucketCommand({ Bucket: "signed" }));
    await s3.send(new PutObjectCommand({ Bucket: "signed", Key: "k", Body: "x" }));

    await t.step("an empty Authorization header is none, and an old one is not taken", async () => {
      const get = (header: string) =>
        raw(test, `GET /signed/k HTTP/1.1\r\nauthorization: ${header}`);
      assertAnswer(await get(""), 403, { Code: "AccessDenied", Message: "Access Denied" });
      assertAnswer(await get("AWS AKIATEST:FWeDfwojDSdS2Ztmpfeubhd9isU="), 400, {
        Code: "InvalidRequest",
        Message:
          "The authorization mechanism you have provided is not supported. Please use AWS4-HMAC-SHA256.",
      });
      assertAnswer(await get("AWS HAHAHA"), 400, {
        Code: "InvalidArgument",
        ArgumentName: "Authorization",
        ArgumentValue: "AWS HAHAHA",
      });
      assertAnswer(await get("AWS4 HAHAHA"), 400, {
        Code: "InvalidArgument",
        Message: "Unsupported Authorization Type",
      });
      const old = await raw(
        test,
        "GET /signed/k?AWSAccessKeyId=AKIATEST&Expires=4102444800&Signature=x HTTP/1.1",
      );
      assertAnswer(old, 400, { Code: "InvalidRequest" });
    });

    await t.step("a wrong secret is shown what should have been signed", async () => {
      const wrong = test.s3("AKIATEST", {
        credentials: { accessKeyId: "AKIATEST", secretAccessKey: "wrong" },
      });
      const answer = await answered(wrong, new ListObjectsV2Command({ Bucket: "signed" }));
      assertAnswer(answer, 403, {
        Code: "SignatureDoesNotMatch",
        Message:
          "The request signature we calculated does not match the signature you provided. Check your key and signing method.",
        AWSAccessKeyId: "AKIATEST",
      });
      for (const name of ["StringToSign", "SignatureProvided", "CanonicalRequest"]) {
        assert.match(answer.text, new RegExp(`<${name}>[^<]+</${name}>`));
      }
      assert.match(answer.text, /<StringToSignBytes>41 57 53 34 2d /);
      const unknown = test.s3("AKIATEST", {
        credentials: { accessKeyId: "AKIANOBODY", secretAccessKey: "x" },
      });
      assertAnswer(await answered(unknown, new ListObjectsV2Command({ Bucket: "signed" })), 403, {
        Code: "InvalidAccessKeyId",
        Message: "The AWS Access Key Id you provided does not exist in our records.",
        AWSAccessKeyId: "AKIANOBODY",
      });
    });

    await t.step("a presigned URL that has expired says when", async () => {
      const url = await getSignedUrl(s3, new GetObjectCommand({ Bucket: "signed", Key: "k" }), {
        expiresIn: 60,
        signingDate: new Date("2026-01-02T03:04:05Z"),
      });
      const target = url.slice(url.indexOf("/", "https://".length));
      assertAnswer(await raw(test, `GET ${target} HTTP/1.1`), 403, {
        Code: "AccessDenied",
        Message: "Request has expired",
        "X-Amz-Expires": "60",
        Expires: "2026-01-02T03:05:05Z",
      });
    });
  },
});
