/**
 * The gateway as a process of its own: a fresh node, a nats-server with the node's permissions, and
 * `services/gateway/main.ts` with exactly the rights that the service table gives it. The test speaks
 * on the bus with the keys of the services it stands in for.
 */
import { join } from "node:path";
import { AwsError } from "../../services/aws/errors.ts";
import { deriveSigningKey } from "../../services/aws/signatures/sigv4.ts";
import { Bus } from "../../services/bus/bus.ts";
import { authorize, signingKey } from "../../services/identity/contract.ts";
import { type ServiceName, serviceNamed } from "../../services/manifest.ts";
import { type Health, healthOf } from "../../services/runtime/run_service.ts";
import { initNode, type Node } from "../../tasks/init/init.ts";
import { serviceCommand } from "../../tasks/supervisor/service_command.ts";
import { cachedPrograms, freePort, testLog } from "./nats.ts";

const repository = new URL("../../", import.meta.url).pathname;

export interface GatewayProcess extends AsyncDisposable {
  readonly node: Node;
  readonly endpoint: string;
  /** Milliseconds from its start until it answered for its health. */
  readonly start_ms: number;
  readonly pid: number;
  /** What it has written to its log so far. */
  readonly log: () => string;
  /** A bus connection with the rights of that service. */
  bus(service: ServiceName | "operator"): Promise<Bus>;
  health(): Promise<Health>;
  /** Asks it to stop, and waits. @returns its exit code */
  stop(): Promise<number>;
}

/** Starts a service of the table on a node as the supervisor does, and gathers what it writes. */
function spawnService(name: ServiceName, node: Node, descriptors?: number) {
  const command = serviceCommand(serviceNamed(name), { config: node.config, repository });
  const [program = "", ...args] = [
    ...(descriptors === undefined ? [] : ["prlimit", `--nofile=${descriptors}:${descriptors}`]),
    command.program,
    ...command.args,
  ];
  const child = new Deno.Command(program, {
    args,
    env: { ...command.env },
    clearEnv: true,
    stdin: "null",
    stdout: "piped",
    stderr: "piped",
  }).spawn();
  const service = { child, log: "", exited: false };
  const gather = async (from: ReadableStream<Uint8Array<ArrayBuffer>>) => {
    for await (const text of from.pipeThrough(new TextDecoderStream())) service.log += text;
  };
  const gathered = Promise.all([gather(child.stdout), gather(child.stderr)]);
  void child.status.then(() => service.exited = true);
  return Object.assign(service, {
    stop: async () => {
      try {
        if (!service.exited) child.kill("SIGTERM");
      } catch {
        // It has ended, and we have not heard of it yet.
      }
      const { code } = await child.status;
      await gathered;
      return code;
    },
  });
}

/**
 * @param before services that are started for real before the gateway; identity is stood in for if it is none
 * @param limits how many descriptors the gateway may have
 */
export async function startGatewayProcess(
  before: readonly ServiceName[] = [],
  limits: { readonly descriptors?: number } = {},
): Promise<GatewayProcess> {
  const directory = await Deno.makeTempDir({ prefix: "mulga-gw-" });
  const ports = { gateway: freePort(), s3: freePort(), nats: freePort() };
  const node = await initNode(directory, { ports });
  const nats = new Deno.Command(join(cachedPrograms(), "nats-server"), {
    args: ["-c", node.paths.natsConfig, "-l", join(directory, "nats.log")],
    stdin: "null",
    stdout: "null",
    stderr: "null",
  }).spawn();
  const buses: Bus[] = [];
  const bus = async (service: string) => {
    const seed = await Deno.readFile(node.paths.nkey(service));
    const url = `nats://127.0.0.1:${ports.nats}`;
    const made = await Bus.connect({ service, url, seed, log: testLog });
    buses.push(made);
    return made;
  };
  const identity = await bus("identity");
  if (!before.includes("identity")) {
    identity.answer(signingKey, (scope) => {
      if (scope.access_key_id !== "AKIATEST") {
        throw new AwsError("InvalidClientTokenId", "The security token is invalid.", {
          status: 403,
        });
      }
      return {
        key: deriveSigningKey("secret", scope).toBase64(),
        account_id: "123456789012",
        principal_arn: "arn:aws:iam::123456789012:user/test",
        user_id: "AIDATEST",
        valid_until_ms: Date.now() + 60_000,
      };
    });
    identity.answer(authorize, () => ({ allowed: true }));
  }
  await identity.connection.flush();
  const operator = await bus("operator");

  const healthy = async (name: ServiceName, descriptors?: number) => {
    const service = spawnService(name, node, descriptors);
    const limit = performance.now() + 120_000;
    while (true) {
      try {
        await operator.ask(healthOf(name, node.config.node_id), null);
        return service;
      } catch {
        if (service.exited || performance.now() > limit) {
          throw new Error(`${name} did not start:\n${service.log}`);
        }
        await new Promise((resolve) => setTimeout(resolve, 20));
      }
    }
  };
  const others: ReturnType<typeof spawnService>[] = [];
  for (const name of before) others.push(await healthy(name));
  const started = performance.now();
  const gateway = await healthy("gateway", limits.descriptors);
  const health = () => operator.ask(healthOf("gateway", node.config.node_id), null);
  const start_ms = performance.now() - started;
  return {
    node,
    endpoint: `https://localhost:${ports.gateway}`,
    start_ms,
    pid: gateway.child.pid,
    log: () => gateway.log,
    bus,
    health,
    stop: gateway.stop,
    async [Symbol.asyncDispose]() {
      await gateway.stop();
      for (const other of others) await other.stop();
      for (const one of buses) await one.drain();
      nats.kill("SIGKILL");
      await nats.status;
      await Deno.remove(directory, { recursive: true });
    },
  };
}
