/**
 * Memory of what was opened is used again while an answer is still on its way: a client that reads by fits
 * and starts, so that all buffers in between are full, gets the object's bytes and no later ones.
 */
import assert from "node:assert/strict";
import { CreateBucketCommand, GetObjectCommand, PutObjectCommand } from "@aws-sdk/client-s3";
import { getSignedUrl } from "@aws-sdk/s3-request-presigner";
import { startPredastore } from "../kit/predastore.ts";

const size = 24 << 20;

/** Every word tells where it stands. */
function numbered(bytes: number): Uint8Array<ArrayBuffer> {
  const words = new Uint32Array(bytes / 4);
  for (let at = 0; at < words.length; at++) words[at] = at;
  return new Uint8Array(words.buffer);
}

Deno.test({
  name: "readers that stall get every byte, over HTTP/1.1 and HTTP/2",
  // The SDK keeps its connections open until it is destroyed.
  sanitizeResources: false,
  sanitizeOps: false,
  fn: async () => {
    await using test = await startPredastore();
    const s3 = test.s3();
    await s3.send(new CreateBucketCommand({ Bucket: "stall" }));
    const whole = numbered(size);
    await s3.send(new PutObjectCommand({ Bucket: "stall", Key: "big", Body: whole }));
    const url = await getSignedUrl(s3, new GetObjectCommand({ Bucket: "stall", Key: "big" }));
    const other = await getSignedUrl(s3, new GetObjectCommand({ Bucket: "stall", Key: "none" }));
    for (const http2 of [false, true]) {
      for (const from of [0, 1_300_001]) {
        using client = Deno.createHttpClient({ caCerts: [test.ca], http1: !http2, http2 });
        using another = Deno.createHttpClient({ caCerts: [test.ca] });
        const headers: Record<string, string> = from === 0 ? {} : { range: `bytes=${from}-` };
        const { body, status } = await fetch(url, { client, headers });
        assert.equal(status, from === 0 ? 200 : 206);
        let at = from;
        let stalled = from;
        for await (const chunk of body ?? []) {
          assert.ok(
            Buffer.compare(chunk, whole.subarray(at, at + chunk.length)) === 0,
            `HTTP/${http2 ? 2 : 1} from ${from}: other bytes before ${at + chunk.length}`,
          );
          at += chunk.length;
          if (at - stalled < 3 << 20) continue;
          stalled = at;
          // The server goes through its loop, and goes on with this answer as far as it can.
          for (let round = 0; round < 20; round++) {
            await (await fetch(other, { client: another })).body?.cancel();
          }
        }
        assert.equal(at, size);
      }
    }
    s3.destroy();
  },
});
