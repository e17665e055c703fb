/**
 * The door of a store in this process, asked as compute asks it: nothing is signed, and targets and headers come
 * as they are written. For requests that no client would send, and for very many.
 */
import { createLog } from "../../services/log/log.ts";
import { delegateHeaders } from "../../services/predastore/contract.ts";
import { newSealingKey, parseSealingKeys } from "../../services/predastore/encryption/sealing.ts";
import { Door } from "../../services/predastore/s3/door.ts";
import type { Store } from "../../services/predastore/store.ts";
import { testStore } from "../../services/predastore/test_store.ts";

export interface Sent {
  readonly method: string;
  readonly target: string;
  readonly headers?: readonly (readonly [string, string])[];
  readonly body?: Uint8Array<ArrayBuffer> | undefined;
}

export interface Came {
  readonly status: number;
  readonly headers: Headers;
  readonly text: string;
}

export interface OpenDoor extends AsyncDisposable {
  /** Rejects where a connection would be dropped. */
  ask(request: Sent): Promise<Came>;
  /** `ask` in one line: `PUT /bucket/key`. */
  say(line: string, headers?: Record<string, string>, body?: string): Promise<Came>;
  readonly store: Store;
  /** Lines of the log that tell of errors. */
  readonly errors: readonly string[];
}

export async function openDoor(): Promise<OpenDoor> {
  const made = await testStore(1, 0, { sealing: parseSealingKeys(newSealingKey(), "key") });
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
    policyTrust: {
      of: () => Promise.resolve({}),
      shown: ({ document }) => Promise.resolve(document),
    },
  });
  const handle = door.handler("delegate");
  const ask = async ({ method, target, headers = [], body }: Sent): Promise<Came> => {
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
    const length = sent.has("content-length") || sent.has("transfer-encoding");
    if (!length) sent.set("content-length", String(body?.length ?? 0));
    const request = new Request("http://localhost/", {
      method,
      headers: sent,
      ...(body === undefined ? {} : { body }),
    });
    const response = await handle(request);
    return { status: response.status, headers: response.headers, text: await response.text() };
  };
  return {
    ask,
    say: (line, headers = {}, body) => {
      const [method = "", target = ""] = line.split(" ");
      return ask({
        method,
        target,
        headers: Object.entries(headers),
        body: body === undefined ? undefined : new TextEncoder().encode(body),
      });
    },
    store: made.store,
    errors,
    async [Symbol.asyncDispose]() {
      door[Symbol.dispose]();
      await made[Symbol.asyncDispose]();
    },
  };
}
