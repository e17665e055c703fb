/**
 * Stands in for identity: it knows two accounts, which may do everything. As a worker it answers from a
 * thread of its own, so that a test whose own thread is busy with many clients does not keep a service
 * waiting for it: `postMessage` of where the bus is begins it, any other message ends it.
 */
import { AwsError } from "../../services/aws/errors.ts";
import { deriveSigningKey } from "../../services/aws/signatures/sigv4.ts";
import { Bus } from "../../services/bus/bus.ts";
import {
  authorize,
  policyShown,
  policyTrust,
  signingKey,
} from "../../services/identity/contract.ts";
import { testLog } from "./nats.ts";

/** Access keys that it knows, with their secrets and accounts. */
export const accounts = {
  AKIATEST: { secret: "secret", account_id: "123456789012" },
  AKIAOTHER: { secret: "other secret", account_id: "210987654321" },
} as const;
export type AccessKey = keyof typeof accounts;

export function answerAsIdentity(bus: Bus): void {
  bus.answer(signingKey, (scope) => {
    const known = Object.hasOwn(accounts, scope.access_key_id)
      ? accounts[scope.access_key_id as AccessKey]
      : undefined;
    if (known === undefined) {
      throw new AwsError("InvalidClientTokenId", "The security token is invalid.", { status: 403 });
    }
    return {
      key: deriveSigningKey(known.secret, scope).toBase64(),
      account_id: known.account_id,
      principal_arn: `arn:aws:iam::${known.account_id}:user/test`,
      user_id: "AIDATEST",
      valid_until_ms: Date.now() + 60_000,
    };
  });
  bus.answer(authorize, () => ({ allowed: true, every_resource: true }));
  bus.answer(policyTrust, () => ({ trusted: {} }));
  bus.answer(policyShown, ({ document }) => ({ document }));
}

export interface BusPlace {
  readonly url: string;
  readonly seed: Uint8Array<ArrayBuffer>;
}

/** Answers from a worker until it is disposed. */
export async function identityApart(place: BusPlace): Promise<AsyncDisposable> {
  const worker = new Worker(import.meta.url, { type: "module" });
  const next = () => {
    const told = Promise.withResolvers<void>();
    worker.onmessage = () => told.resolve();
    worker.onerror = (event) => told.reject(new Error(event.message));
    return told.promise;
  };
  const ready = next();
  worker.postMessage(place);
  await ready;
  return {
    async [Symbol.asyncDispose]() {
      const ended = next();
      worker.postMessage("end");
      await ended;
      worker.terminate();
    },
  };
}

/** Undefined where this is no worker. */
const around = globalThis as unknown as {
  postMessage?: (message: string) => void;
  onmessage?: (event: { readonly data: BusPlace | "end" }) => void;
  readonly DedicatedWorkerGlobalScope?: unknown;
};

if (around.DedicatedWorkerGlobalScope !== undefined) {
  let bus: Bus | undefined;
  around.onmessage = async ({ data }) => {
    if (data === "end") {
      await bus?.drain();
      around.postMessage?.("ended");
      return;
    }
    bus = await Bus.connect({ service: "identity", ...data, log: testLog });
    answerAsIdentity(bus);
    await bus.connection.flush();
    around.postMessage?.("ready");
  };
}
