/**
 * The real engine for tests: nats-server, predastore and viperblock as processes with the rights of the
 * service table, and the programs that speak NBD to it.
 */
import { AwsError } from "../../services/aws/errors.ts";
import { systemContext } from "../../services/bus/subject.ts";
import type { Subject } from "../../services/bus/subject.ts";
import { ObjectStore, systemBuckets } from "../../services/predastore/contract.ts";
import { type ServiceProcess, startNode, type TestNode } from "../kit/node.ts";

export interface TestEngine extends AsyncDisposable {
  readonly node: TestNode;
  readonly store: ObjectStore;
  ask<Input, Output>(subject: Subject<Input, Output>, input: Input): Promise<Output>;
  predastore(): ServiceProcess;
  startPredastore(): Promise<void>;
  /** kill -9, as a power cut of the engine alone; does not start it again. */
  kill(): Promise<void>;
  /** Ends it gracefully. */
  stop(): Promise<void>;
  /** Starts it (again) and waits until it is well. */
  start(): Promise<void>;
  /** The URI of a mounted volume for NBD clients. */
  uri(volumeId: string): string;
  socket(volumeId: string): string;
  /** Keys in the object store. */
  keys(prefix: string): Promise<string[]>;
  log(): string;
}

export async function startEngine(): Promise<TestEngine> {
  const node = await startNode();
  let predastore = await node.start("predastore");
  await predastore.healthy();
  let engine: ServiceProcess = await node.start("viperblock");
  await engine.healthy();
  const bus = await node.bus("compute");
  const store = new ObjectStore(node.paths.s3System, systemBuckets.blocks);
  return {
    node,
    store,
    ask: (subject, input) => bus.ask(subject, input, systemContext(subject.timeout_ms)),
    predastore: () => predastore,
    async startPredastore() {
      predastore = await node.start("predastore");
      await predastore.healthy();
    },
    async kill() {
      await engine.stop("SIGKILL");
    },
    async stop() {
      await engine.stop();
    },
    async start() {
      engine = await node.start("viperblock");
      await engine.healthy();
    },
    uri: (volumeId) => `nbd+unix:///${volumeId}?socket=${node.paths.nbd(volumeId)}`,
    socket: (volumeId) => node.paths.nbd(volumeId),
    keys: (prefix) => Array.fromAsync(store.list(prefix)),
    log: () => engine.log(),
    async [Symbol.asyncDispose]() {
      store[Symbol.dispose]();
      await node[Symbol.asyncDispose]();
    },
  };
}

/** Runs a program; answers its output. @throws with all that it said when it fails or takes too long */
export async function run(
  program: string,
  args: readonly string[],
  options: { timeout_ms?: number } = {},
): Promise<string> {
  const signal = AbortSignal.timeout(options.timeout_ms ?? 240_000);
  const { success, stdout, stderr } = await new Deno.Command(program, { args: [...args], signal })
    .output();
  const text = new TextDecoder().decode(stdout);
  if (!success) {
    throw new Error(`${program} ${args.join(" ")}:\n${text}${new TextDecoder().decode(stderr)}`);
  }
  return text;
}

/** The operator's command on the engine's node. */
export const hive = ({ node }: TestEngine, ...args: readonly string[]) =>
  run(Deno.execPath(), [
    "run",
    "-A",
    "--no-check",
    new URL("../../tasks/hive.ts", import.meta.url).pathname,
    ...args,
    "--data-dir",
    node.paths.root,
  ]);

/** One qemu-io command line after the other on the volume. */
export const qemuIo = (uri: string, ...commands: readonly string[]) =>
  run("qemu-io", ["-f", "raw", ...commands.flatMap((command) => ["-c", command]), uri]);

/** The code with which a call is refused. */
export async function refusal(call: Promise<unknown>): Promise<string> {
  try {
    await call;
  } catch (error) {
    if (error instanceof AwsError) return error.code;
    throw error;
  }
  return "no refusal";
}
