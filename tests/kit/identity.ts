/** A real identity on a bus of a test, and calls in the name of one access key as the gateway makes them. */
import { testLog, type TestNats } from "./nats.ts";
import { type CallContext, subject, systemContext } from "../../services/bus/subject.ts";
import type { Bus } from "../../services/bus/bus.ts";
import {
  authorize,
  newMasterKey,
  signingKey,
  type SigningScope,
} from "../../services/identity/contract.ts";
import { type IdentityOptions, startIdentity } from "../../services/identity/identity.ts";
import { parseMasterKeys } from "../../services/identity/credentials/master_key.ts";

export const masterKeyPath = "/node/secrets/master.key";
export const clusterId = "c-test";
const today = () => new Date().toISOString().slice(0, 10).replaceAll("-", "");

export const scopeOf = (
  access_key_id: string,
  changed: Partial<SigningScope> = {},
): SigningScope => ({
  access_key_id,
  date: today(),
  region: "eu-west-1",
  service: "ec2",
  ...changed,
});

export async function identityOn(
  nats: TestNats,
  masterKeys = parseMasterKeys(newMasterKey(), masterKeyPath),
  more: Partial<IdentityOptions> = {},
) {
  const bus = await nats.bus("identity");
  const identity = await startIdentity({
    bus,
    log: testLog,
    masterKeys,
    masterKeyPath,
    clusterId,
    ...more,
  });
  await bus.connection.flush();
  return { bus, identity, masterKeys };
}

/** Signs in with an access key as the gateway does, and calls actions in its name. */
export async function as(bus: Bus, accessKeyId: string) {
  const grant = await bus.ask(signingKey, scopeOf(accessKeyId));
  const context: CallContext = {
    ...systemContext(600_000),
    account_id: grant.account_id,
    principal_arn: grant.principal_arn,
    access_key_id: accessKeyId,
    region: "eu-west-1",
    source_ip: "192.0.2.1",
  };
  return {
    grant,
    call: (action: string, input: unknown = {}) =>
      // deno-lint-ignore no-explicit-any
      bus.ask(subject<unknown, any>(action), input, {
        ...context,
        deadline_ms: Date.now() + 600_000,
      }),
    may: async (action: string, resource = "*") =>
      (await bus.ask(authorize, { principal_arn: grant.principal_arn, action, resource }, context))
        .allowed,
  };
}
