/**
 * EC2 as a user calls it, for scenarios: the official SDK, signed, over HTTPS, against a real gateway
 * and bus with vpcd and compute's resource side behind it. Before each call that changes something the
 * same call is made as a dry run, which must be answered `DryRunOperation` and change nothing.
 */
import * as sdk from "@aws-sdk/client-ec2";
import assert from "node:assert/strict";
import { Agent } from "node:https";
import { queryService } from "../../services/aws/schema/catalog.ts";
import type { ActionName } from "../../services/resources/wire.ts";
import { startVpcd, type Vpcd } from "../../services/vpcd/vpcd.ts";
import { testConfig } from "./compute.ts";
import {
  otherCredentials,
  startTestGateway,
  testCredentials,
  type TestGateway,
} from "./gateway.ts";
import { testLog } from "./nats.ts";
import { type ResourceWorld, startResourceSide } from "./resource_side.ts";

type Sdk = typeof sdk;
export type SdkInput<A extends ActionName> = Sdk[`${A}Command`] extends
  { new (...args: infer Arguments): unknown }
  ? Arguments extends [infer Input, ...unknown[]] ? Input : never
  : never;
export type SdkOutput<A extends ActionName> = Sdk[`${A}Command`] extends
  { new (...args: never[]): infer Command }
  ? Command extends { resolveMiddleware(...args: never[]): (...args: never[]) => Promise<infer R> }
    ? R extends { output: infer Output } ? Output : never
  : never
  : never;

export interface Caller {
  readonly client: sdk.EC2Client;
  /** Calls, after a dry run of the same where the operation knows one. */
  call<A extends ActionName>(action: A, input: SdkInput<A>): Promise<SdkOutput<A>>;
  /** The call is refused with the code, in these words where they are given. */
  refused<A extends ActionName>(
    code: string,
    action: A,
    input: SdkInput<A>,
    message?: string,
  ): Promise<void>;
}

export interface Scenario extends Caller, AsyncDisposable {
  readonly stand: TestGateway;
  readonly vpcd: Vpcd;
  readonly world: ResourceWorld;
  /** The same as another tenant. */
  readonly other: Caller;
}

const reads = /^(?:Describe|Get|Search|List)/;

/** Members of an operation's request. */
const membersOf = (action: string) =>
  queryService("ec2")?.operation(action)?.input?.members.map((member) => member.name) ?? [];

function callerOf(
  stand: TestGateway,
  credentials: typeof testCredentials | typeof otherCredentials,
) {
  const agent = new Agent({ ca: stand.tls.ca, keepAlive: true });
  const client = new sdk.EC2Client({
    region: testConfig.region,
    endpoint: stand.endpoint,
    credentials,
    maxAttempts: 1,
    requestHandler: { httpsAgent: agent },
  });
  const send = (action: string, input: unknown) => {
    const command = (sdk as unknown as Record<string, new (input: unknown) => never>)[
      `${action}Command`
    ];
    assert.ok(command, action);
    return client.send(new command(input));
  };
  const caller: Caller = {
    client,
    call: async (action, input) => {
      if (!reads.test(action) && membersOf(action).includes("DryRun")) {
        await assert.rejects(
          send(action, { ...input as object, DryRun: true }),
          (error: Error) => {
            assert.equal(error.name, "DryRunOperation", `dry run of ${action}: ${error.message}`);
            return true;
          },
        );
      }
      try {
        return await send(action, input) as never;
      } catch (error) {
        throw new Error(`${action}: ${(error as Error).name}: ${(error as Error).message}`, {
          cause: error,
        });
      }
    },
    refused: async (code, action, input, message) => {
      await assert.rejects(send(action, input), (error: Error) => {
        assert.equal(error.name, code, `${action}: ${error.message}`);
        if (message !== undefined) assert.equal(error.message, message);
        return true;
      });
    },
  };
  return { caller, close: () => (client.destroy(), agent.destroy()) };
}

export async function startScenario(): Promise<Scenario> {
  const stack = new AsyncDisposableStack();
  const stand = stack.use(await startTestGateway());
  const vpcd = await startVpcd({
    bus: await stand.nats.bus("vpcd"),
    log: testLog,
    config: testConfig,
  });
  stack.defer(() => vpcd.stop());
  const world = stack.use(await startResourceSide(undefined, stand.nats, true));
  const mine = callerOf(stand, testCredentials);
  const theirs = callerOf(stand, otherCredentials);
  stack.defer(() => mine.close());
  stack.defer(() => theirs.close());
  return {
    ...mine.caller,
    other: theirs.caller,
    stand,
    vpcd,
    world,
    [Symbol.asyncDispose]: () => stack.disposeAsync(),
  };
}
