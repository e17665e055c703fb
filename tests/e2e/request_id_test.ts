/** One API call leaves a trail under one id: its answer, the gateway's and the owner's logs. */
import assert from "node:assert/strict";
import { startStack } from "../kit/stack.ts";
import { untilWorks } from "../kit/until.ts";

Deno.test("the request id of an answer finds the call in the log of every service it went through", async () => {
  await using stack = await startStack();
  const ran = await stack.awsRaw("ec2", "describe-volumes", "--debug");
  const id = /<requestId>([^<]+)/.exec(ran.stderr)?.[1];
  assert.ok(id, "the answer names its request");
  const refused = await stack.awsRaw("ec2", "describe-volumes", "--volume-ids", "vol-x", "--debug");
  const refusedId = /<RequestID>([^<]+)/i.exec(refused.stderr)?.[1];
  assert.ok(refusedId);
  for (
    const [request, code] of [[id, undefined], [refusedId, "InvalidVolumeID.Malformed"]] as const
  ) {
    // A service's words reach its file after its answer its caller.
    await untilWorks(`gateway and compute to know ${request}`, async () => {
      const { stdout } = await stack.logs("--request", request);
      for (const word of ["gateway", "compute", code ?? ""]) {
        assert.ok(stdout.includes(word), `no ${word}:\n${stdout}`);
      }
      return true;
    });
  }
});
