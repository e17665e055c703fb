/**
 * Makes a node out of a data directory: configuration, directories, master key, certificates, one
 * nkey for each service and the operator, and the bus's configuration.
 *
 * Every part is made only when it is missing, so a run that was cut off is finished by the next one
 * and an existing node loses nothing. Only what is derived (the bus's configuration, a server
 * certificate that runs out) is made anew.
 */
import { createUser, fromSeed } from "@nats-io/nkeys";
import { dirname, join } from "node:path";
import {
  configVersion,
  type NodeConfig,
  type Paths,
  pathsOf,
  readConfig,
  socketDirectories,
} from "../../services/config/node_config.ts";
import { readStamp, requireReadableState, stampForward } from "../../services/config/formats.ts";
import { services } from "../../services/manifest.ts";
import { finishRestore } from "../hive/backup/restore.ts";
import { CommandError } from "../terminal/command.ts";
import { natsConfig, operatorName } from "./bus_permissions.ts";
import { ensureCertificates } from "./certificates.ts";
import { requireUsableName } from "./data_dir.ts";
import { choosePorts, type PortWishes } from "./ports.ts";
import { exists, writeChanged, writeWhole } from "./write_file.ts";

export interface InitOptions {
  readonly ports?: PortWishes;
  readonly region?: string;
  readonly az?: string;
  readonly profile?: string;
  readonly bind?: string;
  readonly accelerator?: string;
  /** Of a new node only: the name that the box has told already. */
  readonly nodeId?: string;
  /** Of a new node only: where object shards go, and into how many an object is coded. */
  readonly storage?: Partial<
    Pick<NodeConfig["storage"], "blobs" | "data_shards" | "parity_shards">
  >;
}

export interface Node {
  readonly config: NodeConfig;
  readonly paths: Paths;
  /** Whether this run made it. */
  readonly created: boolean;
  /** Whether its servers have new certificates, which they read when they start. */
  readonly renewed: boolean;
}

const defaultRegion = "ap-southeast-2";
const regionForm = /^[a-z]{2,}(-[a-z]+)+-\d$/;
const profileForm = /^[A-Za-z0-9._-]{1,64}$/;

/** Makes the node or completes it. @throws CommandError */
export async function initNode(dataDir: string, options: InitOptions = {}): Promise<Node> {
  requireUsableName(dataDir);
  const paths = pathsOf(dataDir);
  // A restore that was cut off while parts changed places: half of one node and half of another.
  await finishRestore(paths);
  const created = !await exists(paths.config);
  await requireReadableState(dataDir);
  await makeDirectories(paths);
  const config = await ensureConfig(
    paths,
    created ? undefined : await readConfig(dataDir),
    options,
  );
  await ensureKey(paths.masterKey);
  // predastore finds out when it is not the one that its objects were sealed with.
  await ensureKey(paths.objectKeys);
  await ensureKey(paths.volumeKeys);
  const renewed = await ensureCertificates(paths);
  await writeBusConfig(config, paths);
  for (const blob of config.storage.blobs) {
    if (created) await makePrivate(blob);
    // A disk that is away degrades the node, and predastore says so; it does not keep the rest down.
    else await makePrivate(blob).catch((error: Error) => console.error(error.message));
  }
  // A new node's state is this release's; an older one moves on only when the release has proven itself.
  if (await readStamp(dataDir) === undefined) await stampForward(dataDir);
  return { config, paths, created, renewed };
}

/** A directory that is its owner's alone. @throws CommandError when it cannot be made */
export async function makePrivate(path: string): Promise<void> {
  try {
    await Deno.mkdir(path, { recursive: true, mode: 0o700 });
  } catch (cause) {
    throw new CommandError(
      `The directory ${path} cannot be made: ${cause instanceof Error ? cause.message : cause}.`,
      1,
      { cause },
    );
  }
}

async function makeDirectories(paths: Paths): Promise<void> {
  const directories = [
    paths.root,
    paths.run,
    ...socketDirectories.map((name) => join(paths.run, name)),
    paths.logs,
    paths.bin,
    paths.secrets,
    join(paths.secrets, "nkeys"),
    dirname(paths.tls.ca),
    paths.nats,
    paths.aws,
    ...services.map((service) => paths.service(service.name)),
  ];
  for (const directory of directories) await makePrivate(directory);
}

async function ensureConfig(
  paths: Paths,
  current: NodeConfig | undefined,
  options: InitOptions,
): Promise<NodeConfig> {
  for (const name of ["region", "az"] as const) {
    const [wanted, has] = [options[name], current?.[name]];
    if (wanted !== undefined && has !== undefined && wanted !== has) {
      throw new CommandError(
        `This node was founded with ${name} ${has} and cannot become ${wanted}; use another ` +
          `--data-dir for a node of its own.`,
      );
    }
  }
  const region = current?.region ?? options.region ?? defaultRegion;
  const az = current?.az ?? options.az ?? `${region}a`;
  const profile = options.profile ?? current?.profile ?? "mulga";
  const accelerator = options.accelerator ?? current?.compute.accelerator ?? "auto";
  if (!regionForm.test(region)) {
    throw new CommandError(`"${region}" is no region name; one looks like ${defaultRegion}.`, 2);
  }
  if (!(az.startsWith(region) && /^[a-z]$/.test(az.slice(region.length)))) {
    throw new CommandError(`"${az}" is no availability zone of ${region}; try ${region}a.`, 2);
  }
  if (!profileForm.test(profile)) {
    throw new CommandError(`"${profile}" cannot name an AWS profile.`, 2);
  }
  if (accelerator !== "auto" && accelerator !== "kvm" && accelerator !== "tcg") {
    throw new CommandError(`--accelerator must be auto, kvm or tcg, not "${accelerator}".`, 2);
  }
  const memory_mib = Deno.systemMemoryInfo().total / 2 ** 20;
  const config: NodeConfig = {
    ...(current ?? {
      version: configVersion,
      cluster_id: `c-${random(4)}`,
      node_id: options.nodeId ?? newNodeId(),
      data_dir: paths.root,
      bind: "127.0.0.1",
      storage: {
        blobs: [join(paths.service("predastore"), "blobs")],
        data_shards: 1,
        parity_shards: 0,
        reserve_bytes: 2 * 2 ** 30,
        ...options.storage,
      },
      compute: {
        accelerator: "auto",
        cpu_overcommit: 4,
        // A board of 2 GiB keeps a third for itself; the services need less than 600 MiB.
        reserve_memory_mib: Math.round(Math.min(1_024, memory_mib / 3)),
      },
    }),
    region,
    az,
    profile,
    ...(options.bind === undefined ? {} : { bind: options.bind }),
    ports: choosePorts(options.ports ?? {}, current?.ports),
  };
  const wanted: NodeConfig = { ...config, compute: { ...config.compute, accelerator } };
  if (wanted.data_dir !== paths.root) {
    throw new CommandError(
      `${paths.config} belongs to ${wanted.data_dir}; a data directory cannot be moved by copying.`,
    );
  }
  const text = `${JSON.stringify(wanted, null, 2)}\n`;
  if (current === undefined || text !== await Deno.readTextFile(paths.config)) {
    await writeWhole(paths.config, text, 0o600);
  }
  return wanted;
}

export const newNodeId = () => `n-${random(4)}`;

const random = (bytes: number) => crypto.getRandomValues(new Uint8Array(bytes)).toHex();

/** One line of base64; a rotation puts a new line before it. */
async function ensureKey(path: string): Promise<void> {
  if (await exists(path)) return;
  const key = crypto.getRandomValues(new Uint8Array(32));
  await writeWhole(path, `${key.toBase64()}\n`, 0o600);
}

/** The public nkey of a name; its seed is made when there is none. */
async function ensureNkey(paths: Paths, name: string): Promise<string> {
  const path = paths.nkey(name);
  if (await exists(path)) {
    const text = (await Deno.readTextFile(path)).trim();
    try {
      return fromSeed(new TextEncoder().encode(text)).getPublicKey();
    } catch (cause) {
      throw new CommandError(`${path} is damaged; remove it and run this again.`, 1, { cause });
    }
  }
  const pair = createUser();
  await writeWhole(path, new TextDecoder().decode(pair.getSeed()), 0o600);
  return pair.getPublicKey();
}

async function writeBusConfig(config: NodeConfig, paths: Paths): Promise<void> {
  const publicKeys = new Map<string, string>();
  for (const name of [...services.map((service) => service.name), operatorName]) {
    publicKeys.set(name, await ensureNkey(paths, name));
  }
  await writeChanged(
    paths.natsConfig,
    natsConfig({
      node_id: config.node_id,
      port: config.ports.nats,
      store_dir: join(paths.nats, "jetstream"),
      services,
      publicKeys,
    }),
    0o600,
  );
}
