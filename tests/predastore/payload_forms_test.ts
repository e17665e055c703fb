/** What a request says of its body's form in `x-amz-content-sha256`, also where it has no body. */
import {
  CreateBucketCommand,
  GetObjectCommand,
  ListBucketsCommand,
  PutBucketTaggingCommand,
  PutObjectCommand,
  PutObjectLockConfigurationCommand,
} from "@aws-sdk/client-s3";
import { answered, assertAnswer } from "./answered.ts";
import { keptAlive, withPredastore } from "./steps.ts";

const Bucket = "forms";
const as = (form: string) => ({ "x-amz-content-sha256": form });
const tagged = () =>
  new PutBucketTaggingCommand({ Bucket, Tagging: { TagSet: [{ Key: "a", Value: "b" }] } });

/** The client always sends one: what it sends is taken away before it is signed. */
function withoutDigest(command: PutBucketTaggingCommand | PutObjectLockConfigurationCommand): void {
  const stack = command.middlewareStack as PutBucketTaggingCommand["middlewareStack"];
  stack.add((next) => (args) => {
    const { headers } = args.request as { headers: Record<string, string> };
    for (const name of Object.keys(headers)) {
      if (/^(content-md5|x-amz-checksum-|x-amz-sdk-checksum)/.test(name)) delete headers[name];
    }
    return next(args);
  }, { step: "build", priority: "low" });
}

const gibberish = {
  Code: "InvalidArgument",
  Message:
    "x-amz-content-sha256 must be UNSIGNED-PAYLOAD, STREAMING-UNSIGNED-PAYLOAD-TRAILER, STREAMING-AWS4-HMAC-SHA256-PAYLOAD, STREAMING-AWS4-HMAC-SHA256-PAYLOAD-TRAILER, STREAMING-AWS4-ECDSA-P256-SHA256-PAYLOAD, STREAMING-AWS4-ECDSA-P256-SHA256-PAYLOAD-TRAILER or a valid sha256 value.",
  ArgumentName: "x-amz-content-sha256",
  ArgumentValue: "GIBBERISH",
};

Deno.test({
  name: "payload forms: what a request says of its body is looked at in every request",
  ...keptAlive,
  fn: (t) =>
    withPredastore(t, {
      "a form that nobody knows is refused, body or none": async (s3) => {
        await s3.send(new CreateBucketCommand({ Bucket }));
        await s3.send(new PutObjectCommand({ Bucket, Key: "k", Body: "x" }));
        for (
          const command of [
            new ListBucketsCommand({}),
            new GetObjectCommand({ Bucket, Key: "k" }),
            new PutObjectCommand({ Bucket, Key: "k", Body: "y" }),
          ]
        ) {
          assertAnswer(await answered(s3, command, as("GIBBERISH")), 400, gibberish);
        }
      },

      "unsigned chunks with a trailer are for objects and parts alone": async (s3) => {
        for (
          const command of [
            new GetObjectCommand({ Bucket, Key: "k" }),
            new PutBucketTaggingCommand({ Bucket, Tagging: { TagSet: [] } }),
          ]
        ) {
          const answer = await answered(s3, command, as("STREAMING-UNSIGNED-PAYLOAD-TRAILER"));
          assertAnswer(answer, 400, {
            Code: "InvalidRequest",
            Message: "The value of x-amz-content-sha256 header is invalid.",
          });
        }
      },

      "a body that is not signed is taken by every operation": async (s3) => {
        assertAnswer(await answered(s3, tagged(), as("UNSIGNED-PAYLOAD")), 204, {});
      },

      "a bucket's tags and locks come with a digest": async (s3) => {
        const locks = { ObjectLockEnabled: "Enabled" } as const;
        for (
          const command of [
            tagged(),
            new PutObjectLockConfigurationCommand({ Bucket, ObjectLockConfiguration: locks }),
          ]
        ) {
          withoutDigest(command);
          assertAnswer(await answered(s3, command), 400, {
            Code: "InvalidRequest",
            Message: "Missing required header for this request: Content-MD5 OR x-amz-checksum-*",
          });
        }
      },
    }),
});
