/**
 * What one node is: its names, ports and directories. Written once by `hive admin init` as
 * `<data_dir>/config.json`, read by every service, changed only by the operator.
 */
import { isIPv4 } from "node:net";
import { isAbsolute, join } from "node:path";

export const configVersion = 1;

/** TCP ports on this node. All but the metadata sockets listen on the loopback unless `bind` says otherwise. */
export interface Ports {
  /** All AWS services and the console, HTTPS. */
  readonly gateway: number;
  /** S3 alone, HTTPS, straight to predastore. */
  readonly s3: number;
  /** NATS clients, loopback. */
  readonly nats: number;
  /** The control server (claiming, joining), HTTPS. */
  readonly control: number;
}

export const defaultPorts: Ports = { gateway: 9999, s3: 9002, nats: 4222, control: 8443 };

/** Where nodes tell each other by multicast that they are there: a group of the local network, UDP. */
export interface Announce {
  readonly group: string;
  readonly port: number;
}

export const defaultAnnounce: Announce = { group: "239.77.85.71", port: 8443 };

export const announceOf = (config: Pick<NodeConfig, "announce">): Announce => ({
  ...defaultAnnounce,
  ...config.announce,
});

/** Paths are absolute; all files are PEM. */
export interface RemoteVolumes {
  readonly port: number;
  readonly cert: string;
  readonly key: string;
  /** The authority that signs clients' certificates; whoever has one may use every mounted volume. */
  readonly ca: string;
}

export interface NodeConfig {
  readonly version: 1;
  readonly cluster_id: string;
  readonly node_id: string;
  /** For example `ap-southeast-2`. */
  readonly region: string;
  /** For example `ap-southeast-2a`. */
  readonly az: string;
  /** Absolute; everything that the node keeps lives under it. */
  readonly data_dir: string;
  /** The address that the gateway, S3 and the control server listen on, and that is announced. */
  readonly bind: string;
  readonly ports: Ports;
  /** Left out: the defaults. */
  readonly announce?: Partial<Announce>;
  /** Volumes for NBD clients on other machines, over TLS; left out: for none. */
  readonly remote_volumes?: RemoteVolumes;
  /** The AWS CLI profile that `up` writes. */
  readonly profile: string;
  readonly storage: {
    /** Directories or disks that hold object shards; at least `data_shards + parity_shards`. */
    readonly blobs: readonly string[];
    readonly data_shards: number;
    readonly parity_shards: number;
    /** Bytes of free disk that no launch, volume or upload may eat into. */
    readonly reserve_bytes: number;
    /**
     * Bytes of this node's disk in which its mounted volumes keep what they have in the object store, all together; 0 for
     * none. Left out: a quarter of what is free beside the reserve. The reserve is never eaten into for it.
     */
    readonly volume_cache_bytes?: number;
  };
  readonly compute: {
    /** `auto` takes KVM where the self-test passes and TCG elsewhere. */
    readonly accelerator: "auto" | "kvm" | "tcg";
    /** vCPUs sold per processor core. */
    readonly cpu_overcommit: number;
    /** MiB of memory kept from guests for the host and the services. */
    readonly reserve_memory_mib: number;
    /**
     * How guests reach their volumes: over NBD, or through rings in their own memory, which are faster.
     * Left out: rings, where QEMU can share guests' memory. Guests that run keep what they were started with.
     */
    readonly disks?: "nbd" | "vhost-user";
  };
}

/** Where each thing lives below the data directory. Pure arithmetic on names: nothing is created. */
export interface Paths {
  readonly root: string;
  readonly config: string;
  /**
   * Unix sockets, in one directory for each pair of who listens and who connects: where services
   * are users of their own, the directory's owner and group say so. Kept short, since a socket's
   * path may have 107 bytes at most.
   */
  readonly run: string;
  readonly logs: string;
  readonly bin: string;
  readonly tls: {
    readonly ca: string;
    readonly caKey: string;
    readonly cert: string;
    readonly key: string;
    /** The control server's own, so that it needs no other door's key. */
    readonly control: { readonly cert: string; readonly key: string };
  };
  readonly secrets: string;
  readonly masterKey: string;
  /** The keys that objects' own keys are sealed under: predastore's. */
  readonly objectKeys: string;
  /** The keys that encrypted volumes' own keys are sealed under: viperblock's. */
  readonly volumeKeys: string;
  readonly nats: string;
  readonly natsConfig: string;
  readonly aws: string;
  /** The private directory of one service. */
  service(name: string): string;
  /** The file that holds a service's NATS nkey seed. */
  nkey(name: string): string;
  /**
   * predastore's sockets: `front` verifies signatures, `system` trusts its peer, `delegate` trusts
   * its peer to name the caller on whose behalf it asks.
   */
  readonly s3Front: string;
  readonly s3Delegate: string;
  readonly s3System: string;
  /** The NBD socket of a mounted volume. */
  nbd(volumeId: string): string;
  /** Where guests of this node reach a volume through their own memory. */
  vhost(volumeId: string): string;
  /** QEMU's machine-protocol socket of an instance. */
  qmp(instanceId: string): string;
  /** The socket of an instance's serial console. */
  machineConsole(instanceId: string): string;
  /** The metadata service's socket of an instance. */
  imds(instanceId: string): string;
}

/** The directories below `run` that hold sockets. */
export const socketDirectories = [
  "s3-front",
  "s3-delegate",
  "s3-system",
  "volumes",
  "machines",
  "metadata",
] as const;

export function pathsOf(root: string): Paths {
  const at = (...parts: string[]) => join(root, ...parts);
  return {
    root,
    config: at("config.json"),
    run: at("run"),
    logs: at("logs"),
    bin: at("bin"),
    tls: {
      ca: at("tls", "ca.crt"),
      caKey: at("tls", "ca.key"),
      cert: at("tls", "server.crt"),
      key: at("tls", "server.key"),
      control: { cert: at("tls", "control.crt"), key: at("tls", "control.key") },
    },
    secrets: at("secrets"),
    masterKey: at("secrets", "master.key"),
    objectKeys: at("secrets", "object-keys.key"),
    volumeKeys: at("secrets", "volume-keys.key"),
    nats: at("nats"),
    natsConfig: at("nats", "nats.conf"),
    aws: at("aws"),
    service: (name) => at(name),
    nkey: (name) => at("secrets", "nkeys", `${name}.seed`),
    s3Front: at("run", "s3-front", "s3.sock"),
    s3Delegate: at("run", "s3-delegate", "s3.sock"),
    s3System: at("run", "s3-system", "s3.sock"),
    nbd: (volumeId) => at("run", "volumes", `${volumeId}.nbd`),
    vhost: (volumeId) => at("run", "volumes", `${volumeId}.vhost`),
    qmp: (instanceId) => at("run", "machines", `${instanceId}.qmp`),
    machineConsole: (instanceId) => at("run", "machines", `${instanceId}.console`),
    imds: (instanceId) => at("run", "metadata", `${instanceId}.imds`),
  };
}

/** The configuration is missing, unreadable or of another version; the message says what to do. */
export class ConfigError extends Error {
  override readonly name = "ConfigError";
}

/** Checks what `hive admin init` wrote, or what somebody edited by hand. */
export function parseConfig(text: string, path: string): NodeConfig {
  let value: Partial<NodeConfig>;
  try {
    value = JSON.parse(text);
  } catch (cause) {
    throw new ConfigError(`${path} is not valid JSON. Mend it, or restore it from a backup.`, {
      cause,
    });
  }
  const fail = (what: string): never => {
    throw new ConfigError(`${path}: ${what}. Mend the file, or restore it from a backup.`);
  };
  if (value.version !== configVersion) {
    fail(
      `version ${value.version} is not readable by this release, which knows version ${configVersion}`,
    );
  }
  for (
    const name of ["cluster_id", "node_id", "region", "az", "data_dir", "bind", "profile"] as const
  ) {
    if (typeof value[name] !== "string" || value[name] === "") fail(`"${name}" must be a string`);
  }
  if (!isAbsolute(value.data_dir ?? "")) fail(`"data_dir" must be an absolute path`);
  if (value.ports !== undefined && value.ports.control === undefined) {
    // Written before there was a control server; the next start writes the port down.
    value = { ...value, ports: { ...value.ports, control: defaultPorts.control } };
  }
  for (const name of ["gateway", "s3", "nats", "control"] as const) {
    const port = value.ports?.[name];
    if (!Number.isInteger(port) || Number(port) < 1 || Number(port) > 65535) {
      fail(`"ports.${name}" must be a port number`);
    }
  }
  const { group, port } = { ...defaultAnnounce, ...value.announce };
  const [first = 0] = String(group).split(".").map(Number);
  if (!isIPv4(String(group)) || first < 224 || first > 239) {
    fail(`"announce.group" must be an IPv4 multicast address such as ${defaultAnnounce.group}`);
  }
  if (!Number.isInteger(port) || port < 1 || port > 65535) {
    fail(`"announce.port" must be a port number`);
  }
  const remote: Partial<RemoteVolumes> | undefined = value.remote_volumes;
  if (remote !== undefined) {
    const { port: remotePort } = remote;
    if (!Number.isInteger(remotePort) || Number(remotePort) < 1 || Number(remotePort) > 65535) {
      fail(`"remote_volumes.port" must be a port number`);
    }
    for (const name of ["cert", "key", "ca"] as const) {
      if (!isAbsolute(String(remote[name] ?? ""))) {
        fail(`"remote_volumes.${name}" must be the absolute path of a PEM file`);
      }
    }
  }
  const storage = value.storage;
  if (
    storage === undefined || !Array.isArray(storage.blobs) ||
    !(storage.data_shards >= 1) || !(storage.parity_shards >= 0) ||
    storage.blobs.length < storage.data_shards + storage.parity_shards
  ) fail(`"storage" needs at least data_shards + parity_shards directories in "blobs"`);
  const { volume_cache_bytes = 0 } = storage ?? {};
  if (!Number.isSafeInteger(volume_cache_bytes) || volume_cache_bytes < 0) {
    fail(`"storage.volume_cache_bytes" must be a number of bytes, 0 for none`);
  }
  if (value.compute === undefined) fail(`"compute" is missing`);
  if (!["nbd", "vhost-user"].includes(value.compute?.disks ?? "nbd")) {
    fail(`"compute.disks" must be "nbd" or "vhost-user"`);
  }
  return value as NodeConfig;
}

/** Reads the configuration of the node whose data directory is `dataDir`. */
export async function readConfig(dataDir: string): Promise<NodeConfig> {
  const path = pathsOf(dataDir).config;
  let text: string;
  try {
    text = await Deno.readTextFile(path);
  } catch (cause) {
    const advice = cause instanceof Deno.errors.PermissionDenied
      ? "Run this with sudo, or as the user whose node it is."
      : "Run `deno task up` or `hive admin init` first.";
    throw new ConfigError(`${path} cannot be read. ${advice}`, { cause });
  }
  return parseConfig(text, path);
}
