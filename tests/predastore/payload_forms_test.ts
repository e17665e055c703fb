/** What a request says of its body's form in `x-amz-content-sha256`, also where it has no body. */
import {
  CreateBucketCommand,
  GetObjectCommand,
  ListBucketsCommand,
  PutBucketTaggingCommand,
  PutObjectCommand,
} from "@aws-sdk/client-s3";
import { answered, assertAnswer } from "./answered.ts";
import { keptAlive, withPredastore } from "./steps.ts";

const Bucket = "forms";
const as = (form: string) => ({ "x-amz-content-sha256": form });
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
        const tags = { TagSet: [{ Key: "a", Value: "b" }] };
        const put = new PutBucketTaggingCommand({ Bucket, Tagging: tags });
        assertAnswer(await answered(s3, put, as("UNSIGNED-PAYLOAD")), 204, {});
      },
    }),
});
