/**
 * Random requests to every operation of S3, with whatever may stand in targets, headers and documents: none makes a
 * fault of ours of it. The door is asked in this process, as compute asks it, so that thousands fit in some seconds; what
 * it threw would be a connection that is dropped.
 */
import assert from "node:assert/strict";
import { createLog } from "../../services/log/log.ts";
import { delegateHeaders } from "../../services/predastore/contract.ts";
import { Door } from "../../services/predastore/s3/door.ts";
import { testStore } from "../../services/predastore/test_store.ts";
import { Random } from "../kit/random.ts";
import { type HostileRequest, hostileRequest, type Known } from "./hostile_requests.ts";

const requests = Number(Deno.env.get("REQUESTS") ?? 6_000);
const seed = Number(Deno.env.get("SEED") ?? crypto.getRandomValues(new Uint32Array(1))[0]);

interface Asked {
  readonly status: number;
  readonly text: string;
}

/** The door of a store with an object, versions of it, and an upload. */
async function hostileDoor() {
  const made = await testStore();
  const errors: string[] = [];
  const log = createLog("test", {
    write: (line) => {
      if (line.includes('"level":"error"')) errors.push(line);
    },
  });
  const door = new Door({
    store: made.store,
    region: "ap-southeast-2",
    log,
    lookup: () => Promise.reject(new Error("nobody signs here")),
    authorize: () => Promise.resolve(true),
    weigh: () => Promise.resolve({ allowed: true, by_resource: true }),
  });
  const handle = door.handler("delegate");
  const ask = async ({ method, target, headers, body }: HostileRequest): Promise<Asked> => {
    const sent = new Headers({
      [delegateHeaders.accountId]: "123456789012",
      [delegateHeaders.principalArn]: "arn:aws:iam::123456789012:user/test",
      [delegateHeaders.accessKeyId]: "AKIATEST",
      [delegateHeaders.target]: target,
      host: "localhost:9002",
    });
    for (const [name, value] of headers) {
      try {
        sent.append(name, value);
      } catch {
        // What can be no header never arrives.
      }
    }
    if (!sent.has("content-length")) sent.set("content-length", String(body?.length ?? 0));
    const request = new Request("http://localhost/", {
      method,
      headers: sent,
      ...(body === undefined ? {} : { body }),
    });
    const response = await handle(request);
    return { status: response.status, text: await response.text() };
  };
  return {
    ask,
    errors,
    async [Symbol.asyncDispose]() {
      door[Symbol.dispose]();
      await made[Symbol.asyncDispose]();
    },
  };
}

/** Buckets and objects as clients left them; made again now and then, since requests remove them too. */
async function known(
  ask: (request: HostileRequest) => Promise<Asked>,
  random: Random,
): Promise<Known> {
  const put = (target: string, body?: string, ...headers: [string, string][]) =>
    ask({
      method: "PUT",
      target,
      headers,
      body: body === undefined ? undefined : new TextEncoder().encode(body),
    });
  await put("/first");
  await put("/locked", undefined, ["x-amz-bucket-object-lock-enabled", "true"]);
  await put("/first/key", "content", ["x-amz-tagging", "a=b"]);
  await put("/first/large", "x".repeat(40_000 + random.below(3)));
  await put("/locked/key", "locked");
  const versions = await ask({ method: "GET", target: "/locked?versions", headers: [] });
  const upload = await ask({ method: "POST", target: "/first/parts?uploads", headers: [] });
  const uploadId = /<UploadId>([^<]*)</.exec(upload.text)?.[1] ?? "";
  await put(`/first/parts?partNumber=1&uploadId=${encodeURIComponent(uploadId)}`, "part");
  return { versionId: /<VersionId>([^<]*)</.exec(versions.text)?.[1] ?? "", uploadId };
}

Deno.test({
  name: `hostile requests: ${requests} random ones are answered, none with a fault of ours`,
  sanitizeResources: false,
  sanitizeOps: false,
  fn: async () => {
    console.log(`SEED=${seed}`);
    const random = new Random(seed);
    await using door = await hostileDoor();
    const statuses = new Map<number, number>();
    let now: Known = { versionId: "", uploadId: "" };
    for (let at = 0; at < requests; at++) {
      if (at % 100 === 0) now = await known(door.ask, random);
      const request = hostileRequest(random, now);
      const told = () =>
        `SEED=${seed}, request ${at}: ${request.method} ${request.target} ${
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
