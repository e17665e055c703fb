/**
 * predastore as a process of its own, with exactly the rights that the service table gives it, on a
 * fresh node; the test stands in for identity and knows two accounts.
 */
import { S3Client, type S3ClientConfig } from "@aws-sdk/client-s3";
import { Agent } from "node:https";
import { join } from "node:path";
import type { NodeConfig } from "../../services/config/node_config.ts";
import { type AccessKey, accounts, answerAsIdentity, identityApart } from "./identity_stand_in.ts";
import { type ProcessLimits, type ServiceProcess, startNode, type TestNode } from "./node.ts";

export { type AccessKey, accounts } from "./identity_stand_in.ts";

export interface TestPredastore extends AsyncDisposable {
  readonly node: TestNode;
  readonly endpoint: string;
  /** The authority's certificate, PEM. */
  readonly ca: string;
  /** The process that runs now. */
  process(): ServiceProcess;
  /** Stops it with the signal and starts it again on the same data. */
  restart(signal?: "SIGTERM" | "SIGKILL"): Promise<void>;
  /** A client of the public port; disposed with the rest. */
  s3(key?: AccessKey, options?: S3ClientConfig): S3Client;
  /** Environment and arguments of the AWS CLI; answers what it prints. @throws when it fails */
  aws(...args: string[]): Promise<string>;
  s3cmd(...args: string[]): Promise<string>;
  /** The remote is called `mulga`. */
  rclone(...args: string[]): Promise<string>;
}

export interface PredastoreOptions {
  readonly storage?: (directory: string) => Partial<NodeConfig["storage"]>;
  /** The stand-in for identity has a thread of its own, for tests that keep theirs busy. */
  readonly identity_apart?: boolean;
  readonly limits?: ProcessLimits;
}

export async function startPredastore(options: PredastoreOptions = {}): Promise<TestPredastore> {
  const node = await startNode();
  const directory = node.config.data_dir;
  const storage = { ...node.config.storage, ...options.storage?.(directory) };
  await Deno.writeTextFile(node.paths.config, JSON.stringify({ ...node.config, storage }));
  const apart = options.identity_apart === true
    ? await identityApart({
      url: `nats://127.0.0.1:${node.config.ports.nats}`,
      seed: await Deno.readFile(node.paths.nkey("identity")),
    })
    : undefined;
  if (apart === undefined) {
    const identity = await node.bus("identity");
    answerAsIdentity(identity);
    await identity.connection.flush();
  }
  let running = await node.start("predastore", options.limits);
  await running.healthy();
  const clients: S3Client[] = [];
  const ca = await Deno.readTextFile(node.paths.tls.ca);
  const home = join(directory, "home");
  /** Runs a client with nothing of the machine's own settings. */
  const client = async (program: string, args: string[], env: Record<string, string> = {}) => {
    const { success, stdout, stderr } = await new Deno.Command(program, {
      args,
      clearEnv: true,
      env: { PATH: "/usr/bin:/bin", HOME: home, LANG: "C.UTF-8", ...env },
    }).output();
    const text = new TextDecoder().decode(stdout);
    if (success) return text;
    throw new Error(`${program} ${args.join(" ")}: ${text}${new TextDecoder().decode(stderr)}`);
  };
  const endpoint = `https://localhost:${node.config.ports.s3}`;
  return {
    node,
    endpoint,
    ca,
    process: () => running,
    async restart(signal = "SIGTERM") {
      await running.stop(signal);
      running = await node.start("predastore", options.limits);
      await running.healthy();
    },
    s3(key = "AKIATEST", more = {}) {
      const client = new S3Client({
        endpoint,
        region: node.config.region,
        credentials: { accessKeyId: key, secretAccessKey: accounts[key].secret },
        forcePathStyle: true,
        requestHandler: { httpsAgent: new Agent({ ca, keepAlive: true, maxSockets: 128 }) },
        ...more,
      });
      clients.push(client);
      return client;
    },
    aws: (...args) =>
      client("/usr/bin/aws", ["--endpoint-url", endpoint, ...args], {
        AWS_ACCESS_KEY_ID: "AKIATEST",
        AWS_SECRET_ACCESS_KEY: accounts.AKIATEST.secret,
        AWS_DEFAULT_REGION: node.config.region,
        AWS_CA_BUNDLE: node.paths.tls.ca,
      }),
    s3cmd: (...args) =>
      client("/usr/bin/s3cmd", [
        "--access_key=AKIATEST",
        `--secret_key=${accounts.AKIATEST.secret}`,
        `--host=localhost:${node.config.ports.s3}`,
        "--host-bucket=",
        `--region=${node.config.region}`,
        `--ca-certs=${node.paths.tls.ca}`,
        ...args,
      ]),
    rclone: (...args) =>
      client("/usr/bin/rclone", ["--ca-cert", node.paths.tls.ca, ...args], {
        RCLONE_CONFIG_MULGA_TYPE: "s3",
        RCLONE_CONFIG_MULGA_PROVIDER: "Other",
        RCLONE_CONFIG_MULGA_ACCESS_KEY_ID: "AKIATEST",
        RCLONE_CONFIG_MULGA_SECRET_ACCESS_KEY: accounts.AKIATEST.secret,
        RCLONE_CONFIG_MULGA_ENDPOINT: endpoint,
        RCLONE_CONFIG_MULGA_REGION: node.config.region,
      }),
    async [Symbol.asyncDispose]() {
      for (const client of clients) client.destroy();
      await apart?.[Symbol.asyncDispose]();
      await node[Symbol.asyncDispose]();
    },
  };
}
