/** EC2 with every real service behind it, each a process of its own, for the official SDK. */
import { Agent } from "node:https";
import { type AdminCredentials, adminCredentials } from "../../services/identity/contract.ts";
import { startNode, type TestNode } from "./node.ts";

export interface Ec2Cloud extends AsyncDisposable {
  readonly node: TestNode;
  readonly admin: AdminCredentials;
  /** What a client of the SDK is made with, for the administrator unless another key is given. */
  settings(key?: Pick<AdminCredentials, "access_key_id" | "secret_access_key">): {
    readonly region: string;
    readonly endpoint: string;
    readonly credentials: { readonly accessKeyId: string; readonly secretAccessKey: string };
    readonly maxAttempts: number;
    readonly requestHandler: { readonly httpsAgent: Agent };
  };
}

export async function startEc2Cloud(): Promise<Ec2Cloud> {
  const node = await startNode();
  const needed = [
    "predastore",
    "viperblock",
    "identity",
    "vpcd",
    "compute",
    "metadata",
    "gateway",
  ] as const;
  for (const name of needed) await (await node.start(name)).healthy();
  const admin = await (await node.bus("operator")).ask(adminCredentials, null);
  const agent = new Agent({ ca: await Deno.readTextFile(node.paths.tls.ca) });
  return {
    node,
    admin,
    settings: (key = admin) => ({
      region: node.config.region,
      endpoint: node.endpoint,
      credentials: { accessKeyId: key.access_key_id, secretAccessKey: key.secret_access_key },
      maxAttempts: 1,
      requestHandler: { httpsAgent: agent },
    }),
    async [Symbol.asyncDispose]() {
      agent.destroy();
      await node[Symbol.asyncDispose]();
    },
  };
}
