/**
 * Random requests to every operation of S3, with whatever may stand in targets, headers and documents: none makes a
 * fault of ours of it. The door is asked in this process, as compute asks it, so that thousands fit in some seconds; what
 * it threw would be a connection that is dropped.
 */
import assert from "node:assert/strict";
import { Random, testSeed } from "../kit/random.ts";
import { wholeKey } from "./hostile_keys.ts";
import { hostileRequest, type Known } from "./hostile_requests.ts";
import { type OpenDoor, openDoor } from "./open_door.ts";

const requests = Number(Deno.env.get("REQUESTS") ?? 6_000);
const seed = testSeed();

/** Buckets and objects as clients left them; made again now and then, since requests remove them too. */
async function known({ say }: OpenDoor, random: Random): Promise<Known> {
  await say("PUT /first");
  await say("PUT /locked", { "x-amz-bucket-object-lock-enabled": "true" });
  await say("PUT /first/key", { "x-amz-tagging": "a=b" }, "content");
  await say("PUT /first/large", {}, "x".repeat(40_000 + random.below(3)));
  await say("PUT /first/sealed", wholeKey(), "x".repeat(20_000));
  await say("PUT /locked/key", {}, "locked");
  const versions = await say("GET /locked?versions");
  const upload = await say("POST /first/parts?uploads");
  const uploadId = /<UploadId>([^<]*)</.exec(upload.text)?.[1] ?? "";
  await say(`PUT /first/parts?partNumber=1&uploadId=${encodeURIComponent(uploadId)}`, {}, "part");
  return { versionId: /<VersionId>([^<]*)</.exec(versions.text)?.[1] ?? "", uploadId };
}

Deno.test({
  name: `hostile requests: ${requests} random ones are answered, none with a fault of ours`,
  sanitizeResources: false,
  sanitizeOps: false,
  fn: async () => {
    console.log(`MULGA_TEST_SEED=${seed}`);
    const random = new Random(seed);
    await using door = await openDoor();
    const statuses = new Map<number, number>();
    let now: Known = { versionId: "", uploadId: "" };
    for (let at = 0; at < requests; at++) {
      if (at % 100 === 0) now = await known(door, random);
      const request = hostileRequest(random, now);
      const told = () =>
        `MULGA_TEST_SEED=${seed}, request ${at}: ${request.method} ${request.target} ${
          JSON.stringify(request.headers)
        } ${
          request.body === undefined ? "" : new TextDecoder().decode(request.body).slice(0, 2000)
        }`;
      const { status, text } = await door.ask(request).catch((cause) => {
        throw new Error(`dropped: ${told()}`, { cause });
      });
      assert.ok(status < 500 || status === 501, `${status}: ${told()}\n${text}\n${door.errors}`);
      assert.deepEqual(door.errors, [], told());
      assert.ok(!text.includes("<Code>InternalError"), `${told()}\n${text}`);
      statuses.set(status, (statuses.get(status) ?? 0) + 1);
    }
    // Most of what the operations do is reached as well: what is only refused would show little.
    assert.ok((statuses.get(200) ?? 0) > requests / 20, JSON.stringify([...statuses]));
    console.log(
      [...statuses].toSorted(([a], [b]) => a - b).map((one) => one.join(": ")).join(", "),
    );
  },
});
