/**
 * One node's compute and metadata for a test, in this process: a real NATS, real QEMU under TCG, a
 * file-backed block store. `restart` lets go of everything as the end of the process does and starts
 * anew; guests live on.
 */
import { dirname, join } from "node:path";
import { Bus } from "../../services/bus/bus.ts";
import { type CallContext, systemContext } from "../../services/bus/subject.ts";
import { type Compute, startCompute } from "../../services/compute/compute.ts";
import {
  buckets,
  type ImageRecord,
  type InstanceRecord,
  quiesce,
  type SnapshotRecord,
} from "../../services/compute/contract.ts";
import { QemuHypervisor } from "../../services/compute/machines/qemu.ts";
import { type Bounds, usualBounds } from "../../services/compute/instances/reconcile.ts";
import { machinePaths } from "../../services/compute/machines/machine_paths.ts";
import { type NodeConfig, pathsOf } from "../../services/config/node_config.ts";
import { RoleCredentials } from "../../services/metadata/role_credentials.ts";
import { MetadataServers } from "../../services/metadata/servers.ts";
import { Tokens } from "../../services/metadata/token.ts";
import { actionSubject } from "../../services/resources/actions.ts";
import type { ActionName, Input, Output } from "../../services/resources/wire.ts";
import { Table } from "../../services/state/table.ts";
import {
  buckets as vpcBuckets,
  interfacePrefix,
  type InterfaceRecord,
} from "../../services/vpcd/contract.ts";
import { startVpcd, type Vpcd } from "../../services/vpcd/vpcd.ts";
import { killProcessOf } from "../../ffi/process.ts";
import { startNats, testLog, type TestNats } from "../kit/nats.ts";
import { FileBlockStore } from "./block_store.ts";

export const account = "000000000001";
export const imageId = "ami-00000000000000001";
const snapshotId = "snap-00000000000000001";
const az = "ap-southeast-2a";

export interface NodeOptions {
  /** Raw disk of the image. */
  readonly disk: string;
  readonly bounds?: Partial<Bounds>;
  /** A server that is there, which stays; one of its own unless given. */
  readonly on?: TestNats;
  /** Whose the image is. */
  readonly owner?: string;
}

export interface TestNode extends AsyncDisposable {
  readonly config: NodeConfig;
  readonly blocks: FileBlockStore;
  compute(): Compute;
  call<Name extends ActionName>(name: Name, input: Input<Name>): Promise<Output<Name>>;
  instance(id: string): InstanceRecord | undefined;
  /** Waits until `holds`, bounded. */
  until(what: string, holds: () => unknown, bound_ms?: number): Promise<void>;
  console(id: string): Promise<string>;
  /** QEMU's process id. */
  pid(id: string): Promise<number>;
  killMachine(id: string): Promise<void>;
  stopCompute(): Promise<void>;
  startCompute(): Promise<void>;
  /** Both, one after the other. */
  restart(): Promise<void>;
  /** Shuts all guests down as `down` does; answers those that had to be ended. */
  quiesce(timeout_ms: number): Promise<readonly string[]>;
  /** Keys of claimed addresses. */
  addresses(): Promise<readonly string[]>;
}

export async function startNode(options: NodeOptions): Promise<TestNode> {
  const stack = new AsyncDisposableStack();
  const nats = options.on ?? stack.use(await startNats());
  const root = await Deno.makeTempDir({ prefix: "mulga-c-" });
  stack.defer(() => Deno.remove(root, { recursive: true }));
  const paths = pathsOf(root);
  for (
    const directory of [
      dirname(paths.nbd("any")),
      dirname(paths.imds("any")),
      paths.service("compute"),
      join(root, "volumes"),
    ]
  ) {
    await Deno.mkdir(directory, { recursive: true });
  }
  const config: NodeConfig = {
    version: 1,
    cluster_id: "c-test",
    node_id: "n-test",
    region: "ap-southeast-2",
    az,
    data_dir: root,
    bind: "127.0.0.1",
    ports: { gateway: 1, s3: 2, nats: nats.port, control: 3 },
    profile: "test",
    storage: { blobs: [root], data_shards: 1, parity_shards: 0, reserve_bytes: 0 },
    compute: { accelerator: "tcg", cpu_overcommit: 8, reserve_memory_mib: 512 },
  };
  const connect = () => Bus.connect({ service: "test", url: nats.url, log: testLog });
  const own = stack.use(await connect());
  const blocks = stack.use(
    new FileBlockStore(
      own,
      paths,
      join(root, "volumes"),
      new Map([[snapshotId, options.disk]]),
    ),
  );
  const size_gib = Math.ceil((await Deno.stat(options.disk)).size / 2 ** 30);
  await writeImage(own, size_gib, options.owner ?? account);
  const instances = stack.use(
    await Table.open<InstanceRecord>(own, buckets.instances, testLog),
  );
  const startMetadata = () =>
    new MetadataServers({
      instances,
      node_id: config.node_id,
      paths,
      context: { region: config.region, tokens: new Tokens(new Uint8Array(32)) },
      roles: new RoleCredentials(own, testLog),
      log: testLog,
    });
  const metadata = startMetadata();
  stack.defer(() => metadata[Symbol.asyncDispose]());

  let bus: Bus;
  let compute: Compute;
  let vpcd: Vpcd;
  const start = async () => {
    isStarted = true;
    bus = await connect();
    vpcd = await startVpcd({ bus, log: testLog, config });
    const hypervisor = new QemuHypervisor({ paths, accelerator: "tcg", log: testLog });
    compute = await startCompute({
      bus,
      log: testLog,
      config,
      paths,
      hypervisor,
      bounds: { ...usualBounds, clock_ms: 1_000, ...options.bounds },
    });
    await bus.connection.flush();
  };
  let isStarted = false;
  const stop = async () => {
    if (!isStarted) return;
    isStarted = false;
    await compute.stop();
    await vpcd.stop();
    await bus.drain();
  };
  await start();
  const pid = async (id: string) =>
    Number.parseInt(await Deno.readTextFile(machinePaths(paths, id).pid), 10);
  stack.defer(async () => {
    await stop();
    for (const { value: { instance_id } } of instances.list()) {
      await pid(instance_id).then((found) => killProcessOf(found, instance_id)).catch(() => {});
    }
  });

  const context = (): CallContext => ({
    ...systemContext(60_000),
    account_id: account,
    principal_arn: `arn:aws:iam::${account}:user/admin`,
    region: config.region,
  });
  const node: TestNode = {
    config,
    blocks,
    compute: () => compute,
    call: (name, input) => own.ask(actionSubject(name), input, context()),
    instance: (id) => instances.get(`${account}.${id}`)?.value,
    until: async (what, holds, bound_ms = 60_000) => {
      const limit = performance.now() + bound_ms;
      while (!await holds()) {
        if (performance.now() > limit) throw new Error(`${what}: not within ${bound_ms} ms`);
        await new Promise((resolve) => setTimeout(resolve, 25));
      }
    },
    console: (id) => Deno.readTextFile(machinePaths(paths, id).consoleLog).catch(() => ""),
    pid,
    killMachine: async (id) => {
      if (!killProcessOf(await pid(id), id)) throw new Error(`${id} has no machine`);
    },
    stopCompute: stop,
    startCompute: start,
    quiesce: async (timeout_ms) => (await own.ask(quiesce, { timeout_ms })).still_running,
    addresses: async () => {
      await using records = await Table.open<InterfaceRecord>(own, vpcBuckets.records, testLog);
      return records.list().flatMap(({ value: { id, shape } }) =>
        id.startsWith(interfacePrefix) ? [shape.PrivateIpAddress ?? ""] : []
      );
    },
    restart: async () => {
      await stop();
      await start();
    },
    [Symbol.asyncDispose]: () => stack.disposeAsync(),
  };
  return node;
}

async function writeImage(bus: Bus, size_gib: number, account: string): Promise<void> {
  await using images = await Table.open<ImageRecord>(bus, buckets.images, testLog);
  await using snapshots = await Table.open<SnapshotRecord>(bus, buckets.snapshots, testLog);
  const time = new Date().toISOString();
  await snapshots.create(`${account}.${snapshotId}`, {
    snapshot_id: snapshotId,
    account_id: account,
    size_gib,
    state: "completed",
    start_time: time,
    tags: {},
  });
  await images.create(`${account}.${imageId}`, {
    image_id: imageId,
    account_id: account,
    name: "test",
    architecture: Deno.build.arch === "aarch64" ? "arm64" : "x86_64",
    state: "available",
    boot_mode: "uefi",
    root_device_name: "/dev/xvda",
    block_devices: [{
      device: "/dev/xvda",
      snapshot_id: snapshotId,
      size_gib,
      delete_on_termination: true,
    }],
    public: false,
    creation_date: time,
    tags: {},
  });
}
