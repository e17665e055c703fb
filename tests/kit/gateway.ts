/**
 * A real gateway on a free port for one test, with a real bus behind it and an identity that knows
 * the access key `AKIATEST`. What answers on the bus and on predastore's socket is the test's matter.
 */
import { deriveSigningKey } from "../../services/aws/signatures/sigv4.ts";
import { AwsError } from "../../services/aws/errors.ts";
import type { Bus } from "../../services/bus/bus.ts";
import { type Gateway, type GatewayOptions, startGateway } from "../../services/gateway/server.ts";
import { authorize, signingKey } from "../../services/identity/contract.ts";
import { startNats, testLog, type TestNats } from "./nats.ts";
import { recordCalls } from "./recorded_calls.ts";
import { makeTls, type TestTls } from "./tls.ts";

export const testCredentials = { accessKeyId: "AKIATEST", secretAccessKey: "secret" } as const;
export const testAccount = "123456789012";
/** A second tenant. */
export const otherCredentials = { accessKeyId: "AKIAOTHER", secretAccessKey: "other" } as const;
export const otherAccount = "210987654321";
export const testPrincipal = `arn:aws:iam::${testAccount}:user/test`;

export interface TestGateway extends AsyncDisposable {
  readonly endpoint: string;
  readonly gateway: Gateway;
  readonly nats: TestNats;
  /** Where services answer. */
  readonly bus: Bus;
  readonly tls: TestTls;
  /** Where predastore's front door must listen. */
  readonly s3Front: string;
  /** IAM actions that are refused from now on. */
  readonly denied: Set<string>;
  /** `fetch` that trusts the test's authority. */
  fetch(path: string, init?: RequestInit): Promise<Response>;
}

export async function startTestGateway(
  options: Partial<Pick<GatewayOptions, "limits">> = {},
): Promise<TestGateway> {
  const nats = await startNats();
  const tls = await makeTls();
  const bus = await nats.bus();
  const denied = new Set<string>();
  const accounts: Readonly<Record<string, readonly [string, string]>> = {
    [testCredentials.accessKeyId]: [testAccount, testCredentials.secretAccessKey],
    [otherCredentials.accessKeyId]: [otherAccount, otherCredentials.secretAccessKey],
  };
  const record = await recordCalls(bus);
  bus.answer(signingKey, (scope) => {
    const known = accounts[scope.access_key_id];
    if (known === undefined) {
      throw new AwsError("InvalidClientTokenId", "The security token is invalid.", {
        status: 403,
      });
    }
    return {
      key: deriveSigningKey(known[1], scope).toBase64(),
      account_id: known[0],
      principal_arn: `arn:aws:iam::${known[0]}:user/test`,
      user_id: "AIDATEST",
      valid_until_ms: Date.now() + 60_000,
    };
  });
  bus.answer(authorize, ({ action }) => ({ allowed: !denied.has(action) }));
  await bus.connection.flush();
  const s3Front = `${nats.directory}/s3.sock`;
  const gateway = await startGateway({
    bus: await nats.bus("gateway"),
    log: testLog,
    hostname: "127.0.0.1",
    port: 0,
    cert: tls.cert,
    key: tls.key,
    s3Front,
    // The process of the tests goes on to start other gateways.
    revokeFfi: false,
    ...options,
  });
  const endpoint = `https://localhost:${gateway.port}`;
  const client = Deno.createHttpClient({ caCerts: [tls.ca] });
  return {
    endpoint,
    gateway,
    nats,
    bus,
    tls,
    s3Front,
    denied,
    fetch: (path, init) =>
      fetch(endpoint + path, { ...init, client } as RequestInit & { client: Deno.HttpClient }),
    async [Symbol.asyncDispose]() {
      client.close();
      await gateway.stop(2_000);
      await record();
      await nats[Symbol.asyncDispose]();
      await tls[Symbol.asyncDispose]();
    },
  };
}
