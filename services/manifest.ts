/**
 * The one table of services. The dev supervisor, the NATS permissions, the systemd units and the
 * health page are all made from it; what is not said here, a service may not do.
 *
 * Path templates: `{data}` is the node's data directory, `{repo}` the checkout (the bundle's folder
 * on the appliance). Deno grants FFI only as a whole and FFI reaches past every other permission,
 * so the units of services with `ffi` are their real fence.
 */
import { directActions } from "./compute/contract.ts";

export type ServiceName =
  | "nats"
  | "predastore"
  | "viperblock"
  | "identity"
  | "gateway"
  | "compute"
  | "vpcd"
  | "metadata"
  | "console"
  | "cluster";

export interface DenoPermissions {
  /** `host:port` templates with `{gateway}`, `{s3}`, `{nats}`; `"any"` for every address. */
  readonly net?: readonly string[] | "any";
  readonly read?: readonly string[];
  readonly write?: readonly string[];
  readonly env?: readonly string[];
  readonly run?: readonly string[];
  readonly sys?: readonly string[];
  readonly ffi?: true;
}

/** What a service may say and hear on the bus; NATS enforces it by the service's nkey. */
export interface BusPermissions {
  /** Subjects that it answers or listens to. */
  readonly hears: readonly string[];
  /** Subjects that it asks or publishes. */
  readonly says: readonly string[];
  /** KV buckets that it writes; `reads` are watched only. */
  readonly writes?: readonly string[];
  readonly reads?: readonly string[];
  /** JetStream streams that it makes and follows besides its buckets. */
  readonly streams?: readonly string[];
}

export interface ServiceSpec {
  readonly name: ServiceName;
  readonly summary: string;
  /** Entry module below the repository, or a program that is not ours. */
  readonly entry: string | { readonly program: string; readonly args: readonly string[] };
  /** Services that must be healthy before it starts. */
  readonly after: readonly ServiceName[];
  /** Its Unix user on the appliance; every service has one of its own. */
  readonly user: string;
  /** Further Unix groups, by which sockets and devices are shared. */
  readonly groups: readonly string[];
  /** Ports it listens on, by their name in the node's configuration. */
  readonly ports: readonly ("gateway" | "s3" | "nats" | "control")[];
  readonly permissions: DenoPermissions;
  readonly bus: BusPermissions;
  /** How the supervisor knows that it is well: the bus subject `health.<name>.<node>`, or a TCP port. */
  readonly health: "bus" | "tcp";
  /** Whether it also runs on a box that nobody has claimed, where there is no node yet. */
  readonly unclaimed?: true;
  /** Whether guests' or clients' data goes through it: speed counts there, and elsewhere memory. */
  readonly movesData?: true;
  /** MiB of V8's semi-space, of which new objects take two: as many as V8 likes (45 MiB and more) unless given. */
  readonly new_space_mib?: number;
  /** Unstable Deno features that it needs. */
  readonly unstable?: readonly string[];
  /** How long a graceful stop may take before it is killed. */
  readonly stop_timeout_ms: number;
}

const natsLoopback = "127.0.0.1:{nats}";
/** Environment that the AWS and NATS client packages look at, besides our own. */
const env = ["MULGA_DATA_DIR", "MULGA_LOG"];
const own = (name: string) => [
  "{data}/config.json",
  `{data}/secrets/nkeys/${name}.seed`,
  `{data}/${name}`,
];

/** The EBS direct APIs; the rest of `ebs.>` is between compute and viperblock. */
const directSubjects = directActions.map((action) => `ebs.${action}`);

export const services: readonly ServiceSpec[] = [
  {
    name: "nats",
    summary: "Bus and state: NATS with JetStream",
    entry: { program: "{data}/bin/nats-server", args: ["-c", "{data}/nats/nats.conf"] },
    after: [],
    user: "mulga-nats",
    groups: [],
    ports: ["nats"],
    permissions: {},
    bus: { hears: [], says: [] },
    health: "tcp",
    stop_timeout_ms: 15_000,
  },
  {
    name: "predastore",
    summary: "S3: objects as Reed-Solomon shards in append-only segments",
    entry: "services/predastore/main.ts",
    after: ["nats"],
    user: "mulga-s3",
    groups: ["mulga"],
    ports: ["s3"],
    permissions: {
      // Blob directories may be anywhere, and FFI needs the libraries wherever Debian put them.
      net: "any",
      read: ["any"],
      write: ["any"],
      env,
      ffi: true,
      // Free space of the blob directories.
      sys: ["statfs"],
    },
    bus: {
      hears: ["identity.changed", "node.*.s3.>"],
      says: [
        "identity.signing_key",
        "identity.authorize",
        "identity.policy_trust",
        "identity.policy_shown",
        "s3.event.>",
      ],
      streams: ["S3_EVENTS"],
    },
    movesData: true,
    // Its memory is its buffers' and the index's.
    new_space_mib: 4,
    health: "bus",
    stop_timeout_ms: 30_000,
  },
  {
    name: "viperblock",
    summary: "EBS: log-structured volumes for guests' rings and over NBD",
    entry: "services/viperblock/main.ts",
    after: ["nats", "predastore"],
    user: "mulga-ebs",
    groups: ["mulga"],
    ports: [],
    permissions: {
      // The port for remote volumes is the operator's choice, and each volume's socket has its own name.
      net: "any",
      read: ["any"],
      write: ["{data}"],
      env,
      ffi: true,
      sys: ["cpus", "systemMemoryInfo"],
    },
    bus: {
      hears: ["ebs.>", "node.*.ebs.>"],
      says: [],
      writes: ["ebs_volumes", "ebs_snapshots", "ebs_keys"],
    },
    movesData: true,
    health: "bus",
    stop_timeout_ms: 60_000,
  },
  {
    name: "identity",
    summary: "Accounts, access keys, signing keys and authorisation (IAM, STS)",
    entry: "services/identity/main.ts",
    after: ["nats"],
    user: "mulga-identity",
    groups: ["mulga"],
    ports: [],
    permissions: {
      net: [natsLoopback],
      read: [...own("identity"), "{data}/secrets/master.key"],
      write: ["{data}/identity"],
      env,
    },
    bus: {
      hears: ["identity.>", "iam.>", "sts.>"],
      says: ["identity.changed"],
      writes: [
        "iam_accounts",
        "iam_aliases",
        "iam_users",
        "iam_groups",
        "iam_roles",
        "iam_profiles",
        "iam_policies",
        "iam_keys",
        "iam_sessions",
      ],
    },
    health: "bus",
    stop_timeout_ms: 10_000,
  },
  {
    name: "gateway",
    summary: "HTTPS front door: SigV4, AWS protocols, dispatch, audit",
    entry: "services/gateway/main.ts",
    after: ["nats", "identity", "predastore"],
    user: "mulga-gateway",
    groups: ["mulga"],
    ports: ["gateway"],
    permissions: {
      net: [
        "{bind}:{gateway}",
        natsLoopback,
        // predastore's door, and the name under which it is asked there.
        "unix:{data}/run/s3-front/s3.sock",
        "predastore:80",
      ],
      // Of the certificates' directory only its own two: the authority's key is none of its business.
      read: [
        ...own("gateway"),
        "{data}/tls/server.crt",
        "{data}/tls/server.key",
        "{data}/run/s3-front/s3.sock",
      ],
      write: ["{data}/run/s3-front/s3.sock"],
      // The AWS clients, whose schemas the codecs read, look at two more while they load.
      env: [
        ...env,
        "AWS_LAMBDA_NODEJS_NO_GLOBAL_AWSLAMBDA",
        "AWS_LAMBDA_BENCHMARK_MODE",
      ],
      // Used once, to set TCP_NODELAY on the listening socket, and then given up by the process.
      ffi: true,
    },
    bus: {
      hears: ["identity.changed"],
      says: [
        "ec2.>",
        "iam.>",
        "sts.>",
        "tagging.>",
        "servicequotas.>",
        ...directSubjects,
        "identity.signing_key",
        "identity.authorize",
        "console.page",
        "audit.>",
        "audit_strangers.>",
      ],
      streams: ["AUDIT", "AUDIT_STRANGERS"],
    },
    health: "bus",
    stop_timeout_ms: 30_000,
  },
  {
    name: "vpcd",
    summary: "EC2's networks: VPCs, subnets, groups, gateways, interfaces, addresses",
    entry: "services/vpcd/main.ts",
    after: ["nats", "identity"],
    user: "mulga-vpcd",
    groups: ["mulga"],
    ports: [],
    permissions: { net: [natsLoopback], read: own("vpcd"), env },
    bus: {
      hears: ["ec2.>", "vpcd.>", "identity.changed"],
      says: ["vpcd.event.>", "identity.authorize"],
      writes: ["vpc_records", "vpc_client_tokens"],
    },
    health: "bus",
    stop_timeout_ms: 10_000,
  },
  {
    name: "compute",
    summary: "EC2 (hived): instances, images, keys and volumes; QEMU through QMP",
    entry: "services/compute/main.ts",
    after: ["nats", "viperblock", "identity", "vpcd"],
    user: "mulga-compute",
    groups: ["mulga", "kvm"],
    ports: [],
    permissions: {
      net: "any",
      read: ["any"],
      write: ["{data}", "/dev/kvm"],
      env,
      run: ["qemu-system-x86_64", "qemu-system-aarch64", "qemu-img", "swtpm"],
      ffi: true,
      sys: ["cpus", "systemMemoryInfo", "hostname"],
    },
    bus: {
      hears: [
        "ec2.>",
        "node.*.ec2.>",
        "tagging.>",
        "servicequotas.>",
        ...directSubjects,
        "compute.>",
        "vpcd.event.>",
        "identity.changed",
      ],
      says: [
        "ebs.>",
        "node.*.ebs.>",
        "node.*.ec2.>",
        "vpcd.>",
        "compute.event.>",
        "identity.authorize",
        "identity.instance_profile",
      ],
      writes: [
        "ec2_instances",
        "ec2_volumes",
        "ec2_images",
        "ec2_key_pairs",
        "ec2_snapshots",
        "ec2_client_tokens",
        "ec2_records",
        "ec2_capacity",
        "ec2_addresses",
      ],
    },
    health: "bus",
    stop_timeout_ms: 120_000,
  },
  {
    name: "metadata",
    summary: "Instance metadata at 169.254.169.254 (IMDSv2)",
    entry: "services/metadata/main.ts",
    after: ["nats"],
    user: "mulga-metadata",
    groups: ["mulga"],
    ports: [],
    permissions: {
      // A socket for each instance under {data}/run: Deno grants sockets one by one by their full
      // names only, so the unit's RestrictAddressFamilies and IPAddressDeny are the fence here.
      net: "any",
      read: [...own("metadata"), "{data}/run/metadata"],
      write: ["{data}/run/metadata", "{data}/metadata"],
      env,
    },
    bus: {
      hears: [],
      says: ["identity.instance_credentials"],
      reads: ["ec2_instances"],
    },
    health: "bus",
    stop_timeout_ms: 10_000,
  },
  {
    name: "console",
    summary: "The web page of the node, served through the gateway",
    entry: "services/console/main.ts",
    after: ["nats", "gateway"],
    user: "mulga-console",
    groups: ["mulga"],
    ports: [],
    permissions: {
      net: [natsLoopback],
      read: [...own("console"), "{data}/tls/ca.crt"],
      env,
    },
    bus: {
      hears: ["console.>"],
      says: ["health.>"],
      writes: ["console_sessions"],
      reads: ["ec2_instances", "ec2_volumes", "ec2_images"],
    },
    health: "bus",
    stop_timeout_ms: 10_000,
  },
  {
    name: "cluster",
    summary: "Claiming, and who is on the network: control server and announcements",
    entry: "services/cluster/main.ts",
    after: ["nats"],
    user: "mulga-cluster",
    groups: ["mulga"],
    ports: ["control"],
    permissions: {
      // It speaks from every address of the machine, and those come and go.
      net: "any",
      read: [
        ...own("cluster"),
        "{data}/tls/ca.crt",
        "{data}/tls/control.crt",
        "{data}/tls/control.key",
        // Where systemd-networkd tells of addresses, and the pipe to the screen.
        "/run/systemd/netif",
        "/run/mulga-screen",
      ],
      write: ["{data}/cluster", "/run/mulga-screen"],
      env,
      sys: ["networkInterfaces", "hostname"],
    },
    bus: { hears: ["cluster.>"], says: [] },
    health: "bus",
    unclaimed: true,
    unstable: ["net"],
    stop_timeout_ms: 10_000,
  },
];

/** The service of that name. @throws RangeError when there is none */
export function serviceNamed(name: string): ServiceSpec {
  const found = services.find((service) => service.name === name);
  if (found === undefined) {
    throw new RangeError(
      `There is no service "${name}"; there are ${services.map((s) => s.name).join(", ")}.`,
    );
  }
  return found;
}
