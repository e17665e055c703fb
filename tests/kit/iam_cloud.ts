/**
 * IAM and STS as a tenant meets them: real identity and gateway processes, the official SDK, and short
 * ways to write policy documents.
 */
import assert from "node:assert/strict";
import { Agent } from "node:https";
import { EC2Client } from "@aws-sdk/client-ec2";
import * as Iam from "@aws-sdk/client-iam";
import * as Sts from "@aws-sdk/client-sts";
import { adminCredentials } from "../../services/identity/contract.ts";
import { startNode } from "./node.ts";

export interface Keys {
  readonly accessKeyId: string;
  readonly secretAccessKey: string;
  readonly sessionToken?: string;
}

export const document = (...statements: readonly object[]) =>
  JSON.stringify({ Version: "2012-10-17", Statement: statements });
export const allow = (Action: string | string[], Resource: string | string[] = "*") => ({
  Effect: "Allow",
  Action,
  Resource,
});
export const deny = (Action: string) => ({ Effect: "Deny", Action, Resource: "*" });
export const trust = (Principal: object | string, Condition?: object) =>
  document({
    Effect: "Allow",
    Principal,
    Action: "sts:AssumeRole",
    ...(Condition === undefined ? {} : { Condition }),
  });

export const failed = (name: string, status?: number) => (error: unknown) => {
  assert.ok(error instanceof Error);
  assert.equal(error.name, name, String(error));
  if (status !== undefined) {
    const { $metadata } = error as { $metadata?: { httpStatusCode?: number } };
    assert.equal($metadata?.httpStatusCode, status);
  }
  return true;
};

export async function cloud() {
  const node = await startNode();
  for (const name of ["identity", "gateway"] as const) await (await node.start(name)).healthy();
  const operator = await node.bus("operator");
  const admin = await operator.ask(adminCredentials, null);
  const ca = await Deno.readTextFile(node.paths.tls.ca);
  const agent = new Agent({ ca });
  const settings = (credentials: Keys) => ({
    region: node.config.region,
    endpoint: node.endpoint,
    credentials,
    maxAttempts: 1,
    requestHandler: { httpsAgent: agent },
  });
  const as = (credentials: Keys) => ({
    iam: new Iam.IAMClient(settings(credentials)),
    sts: new Sts.STSClient(settings(credentials)),
    ec2: new EC2Client(settings(credentials)),
  });
  const keysOf = async (iam: Iam.IAMClient, UserName: string): Promise<Keys> => {
    await iam.send(new Iam.CreateUserCommand({ UserName }));
    const { AccessKey } = await iam.send(new Iam.CreateAccessKeyCommand({ UserName }));
    return {
      accessKeyId: AccessKey?.AccessKeyId ?? "",
      secretAccessKey: AccessKey?.SecretAccessKey ?? "",
    };
  };
  return {
    operator,
    account: admin.account_id,
    as,
    keysOf,
    ...as({ accessKeyId: admin.access_key_id, secretAccessKey: admin.secret_access_key }),
    [Symbol.asyncDispose]: async () => {
      agent.destroy();
      await node[Symbol.asyncDispose]();
    },
  };
}

export const sessionKeys = (given: Sts.Credentials | undefined): Keys => ({
  accessKeyId: given?.AccessKeyId ?? "",
  secretAccessKey: given?.SecretAccessKey ?? "",
  sessionToken: given?.SessionToken ?? "",
});
