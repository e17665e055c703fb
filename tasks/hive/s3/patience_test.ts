import assert from "node:assert/strict";
import { AwsError } from "../../../services/aws/errors.ts";
import { patiently } from "./patience.ts";

const late = () => new AwsError("ServiceUnavailable", "s3.fsck did not answer.", { status: 503 });

Deno.test("an answer that comes late is asked for again, and nobody asks for ever", async () => {
  let asked = 0;
  const pause = () => Promise.resolve();
  const busy = () => ++asked < 5 ? Promise.reject(late()) : Promise.resolve("done");
  assert.equal(await patiently(busy, pause), "done");
  assert.equal(asked, 5);
  asked = 0;
  await assert.rejects(
    patiently(() => {
      asked++;
      return Promise.reject(late());
    }, pause),
    { code: "ServiceUnavailable" },
  );
  assert.equal(asked, 20);
});

Deno.test("what is refused for another reason is told at once", async () => {
  let asked = 0;
  await assert.rejects(
    patiently(() => {
      asked++;
      return Promise.reject(new AwsError("AccessDenied", "no", { status: 403 }));
    }, () => Promise.resolve()),
    { code: "AccessDenied" },
  );
  assert.equal(asked, 1);
});
