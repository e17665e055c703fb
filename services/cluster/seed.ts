/**
 * The seed: what a box is told before it is set up, in one file that a person writes. This is its one
 * definition; the type, the strict reading and `cloud-init/seed.schema.json` all come from it.
 *
 * Every key but `version` may be left out; what is left out is found by the box or stays as it is.
 * What cannot be understood is refused as a whole, in one sentence with line and column, and nothing
 * of it is applied: half a network is worse than none.
 */
import { isMap, isScalar, type Node } from "yaml";
import { capabilities, hostname, region, zone, zoneTrouble } from "./names.ts";
import { contains, isAddress, networkOf } from "./seed/addresses.ts";
import {
  decodeSeed,
  isUtf16,
  parseDocument,
  plain,
  type SeedDocument,
  SeedError,
} from "./seed/document.ts";
import {
  choice,
  flag,
  integer,
  type JsonSchema,
  list,
  optional,
  record,
  text,
  type ValueOf,
} from "./seed/rule.ts";

export { SeedError };

/** A seed of another version is refused with the word that this release knows version 1. */
const seedVersion = 1;

const serverForm = /^[A-Za-z0-9._:-]+$/;

const address = (about: string) =>
  text({ about, expected: "an address such as 192.168.1.1", accepts: isAddress });
const server = (about: string) =>
  text({ about, expected: "a host name or an address", form: serverForm });
const unlike = <T>(item: T) => String(item);

const addressing = {
  dhcp: optional(flag("Ask for an address by DHCP. Left out: yes, unless `addresses` are given.")),
  addresses: optional(list({
    about: "Addresses of this box on the network, each with the length of its network.",
    of: text({
      about: "An address with the length of its network.",
      expected: "an address with its network such as 192.168.1.10/24",
      accepts: (value) => networkOf(value) !== undefined,
    }),
    max: 16,
    once: unlike,
  })),
  gateway: optional(address("The router to everything else; it lies in one of the networks.")),
  dns: optional(list({
    about: "Name servers to ask through this interface.",
    of: address("The address of a name server."),
    max: 8,
    once: unlike,
  })),
};

type Addressing = {
  readonly dhcp?: boolean;
  readonly addresses?: readonly string[];
  readonly gateway?: string;
};

function checkAddressing(
  value: Addressing,
  complain: (key: "dhcp" | "addresses" | "gateway", what: string) => never,
): void {
  const { dhcp, addresses = [], gateway } = value;
  if (dhcp === false && addresses.length === 0) {
    complain("dhcp", `without DHCP the interface needs "addresses"; give one, or remove "dhcp".`);
  }
  if (gateway === undefined) return;
  if (addresses.length === 0) {
    complain("gateway", `"gateway" goes with "addresses"; DHCP tells its own, so remove one.`);
  }
  const reachable = addresses.some((one) => {
    const network = networkOf(one);
    return network !== undefined && contains(network, gateway);
  });
  if (!reachable) {
    complain(
      "gateway",
      `the gateway ${gateway} lies in none of the networks of ${addresses.join(", ")}; ` +
        `mend the address or the length of its network.`,
    );
  }
}

const vlan = record("A tagged network on the interface.", {
  id: integer({ about: "The tag, from 1 to 4094.", min: 1, max: 4094 }),
  ...addressing,
}, checkAddressing);

const networkInterface = record(
  "One network interface, named by `name` or by `mac`.",
  {
    name: optional(text({
      about: "The interface's name as Linux gives it, such as enp1s0; * and ? match several.",
      expected: "an interface's name such as enp1s0",
      form: /^[A-Za-z0-9_.*?-]{1,15}$/,
    })),
    mac: optional(text({
      about: "The interface's hardware address, such as 52:54:00:12:34:56.",
      expected: "a hardware address such as 52:54:00:12:34:56",
      form: /^[0-9A-Fa-f]{2}(:[0-9A-Fa-f]{2}){5}$/,
    })),
    ...addressing,
    mtu: optional(integer({ about: "The largest packet, in bytes.", min: 576, max: 65_535 })),
    vlans: optional(list({
      about: "Tagged networks on this interface.",
      of: vlan,
      max: 16,
      once: ({ id }) => `VLAN ${id}`,
    })),
  },
  (value, complain) => {
    if ((value.name === undefined) === (value.mac === undefined)) {
      complain(undefined, `an interface is named by "name" or by "mac"; give one of the two.`);
    }
    checkAddressing(value, complain);
  },
);

const diskRule = {
  id: optional(text({
    about: "The disk's name below /dev/disk/by-id; * and ? match several.",
    expected: "a name below /dev/disk/by-id such as nvme-Samsung_*",
    form: /^[A-Za-z0-9_.:*?+-]+$/,
  })),
  bus: optional(choice("How the disk is attached.", [
    "nvme",
    "sata",
    "scsi",
    "usb",
    "mmc",
    "virtio",
  ])),
  min_gib: optional(integer({ about: "Smallest size in GiB.", min: 1, max: 1_048_576 })),
  max_gib: optional(integer({ about: "Largest size in GiB.", min: 1, max: 1_048_576 })),
  pick: optional(choice(
    "Which one when several fit. Left out: `only`, which refuses to choose.",
    ["only", "smallest", "largest"],
  )),
};

function checkDisk(
  value: { readonly min_gib?: number; readonly max_gib?: number },
  complain: (key: "min_gib", what: string) => never,
): void {
  if ((value.min_gib ?? 0) > (value.max_gib ?? Infinity)) {
    complain("min_gib", `"min_gib" is more than "max_gib", so no disk fits; mend one of them.`);
  }
}

const disk = (about: string) => record(about, diskRule, checkDisk);

const admin = record("The administrator's access key, when it is known before.", {
  access_key_id: text({
    about: "The access key's id: 16 to 64 capital letters and digits.",
    expected: "16 to 64 capital letters and digits",
    form: /^[A-Z0-9]{16,64}$/,
  }),
  secret_access_key: text({
    about: "The secret: 40 to 128 characters of A-Z, a-z, 0-9, /, + and =.",
    expected: "40 to 128 characters of A-Z, a-z, 0-9, /, + and =",
    form: /^[A-Za-z0-9/+=]{40,128}$/,
    secret: true,
  }),
});

const cluster = record("The box's part in a cluster. Left out: a cluster of one.", {
  token: optional(text({
    about: "The secret that the nodes of the cluster share: 12 to 128 characters.",
    expected: "12 to 128 letters, digits, - or _",
    form: /^[A-Za-z0-9_-]{12,128}$/,
    secret: true,
  })),
  nodes: optional(integer({
    about: "How many nodes the cluster shall have. Left out: 1.",
    min: 1,
    max: 1_000,
  })),
  founder: optional(text({
    about: "The founding node's address, host:port. Left out: it is found by multicast.",
    expected: "host:port such as node1.local:8443",
    form: /^([A-Za-z0-9._-]+|\[[0-9A-Fa-f:]+\]):[0-9]{1,5}$/,
  })),
  capabilities: optional(list({
    about: "What this node does for the cluster. Left out: everything it can.",
    of: choice("A capability.", capabilities),
    max: capabilities.length,
    once: unlike,
  })),
}, (value, complain) => {
  const several = (value.nodes ?? 1) > 1 || value.founder !== undefined;
  if (several && value.token === undefined) {
    complain(undefined, `a cluster of several nodes needs "token"; give all nodes the same.`);
  }
});

const storage = record("Where data lives.", {
  data_disk: optional(disk(
    "A second disk for data, empty or already MulgaOS's. Left out: the disk it runs from.",
  )),
  blobs: optional(list({
    about: "Directories for object shards. Left out: one in the data directory.",
    of: text({
      about: "An absolute path.",
      expected: "an absolute path without .. such as /mnt/disk1",
      form: /^(\/[A-Za-z0-9_.-]+)+$/,
      accepts: (path) => !path.split("/").some((part) => part === ".." || part === "."),
    }),
    max: 64,
    once: unlike,
  })),
  data_shards: optional(integer({
    about: "Reed-Solomon: in how many parts an object is cut.",
    min: 1,
    max: 32,
  })),
  parity_shards: optional(integer({
    about: "Reed-Solomon: how many directories may be lost.",
    min: 0,
    max: 16,
  })),
}, (value, complain) => {
  const { blobs = [], data_shards = 1, parity_shards = 0 } = value;
  const needed = data_shards + parity_shards;
  if (needed > Math.max(blobs.length, 1)) {
    complain(
      value.data_shards === undefined ? "parity_shards" : "data_shards",
      `${data_shards} data and ${parity_shards} parity shards need ${needed} directories in ` +
        `"blobs", not ${blobs.length}; add directories or lower the numbers.`,
    );
  }
});

const install = record("Installing from a stick to a disk of the box.", {
  target: disk("The disk to install to, by rule."),
  unattended: optional(flag("Install without asking. Left out: no, it is asked on the screen.")),
  overwrite: optional(flag(
    "The disk may hold data, which is lost. Left out: no, such a disk is refused.",
  )),
}, (value, complain) => {
  if (value.unattended === true && value.target === undefined) {
    complain("unattended", `an unattended install needs "target"; give the disk's rule.`);
  }
});

const update = record("Where updates come from.", {
  source: optional(text({
    about: "An https:// address or an absolute path where updates lie.",
    expected: "an https:// address or an absolute path",
    form: /^(https:\/\/[^\s"'\\]+|\/[^\s"'\\]*)$/,
    longest: 2_000,
  })),
  automatic: optional(flag("Fetch and apply updates without being asked. Left out: no.")),
  window: optional(text({
    about: "When the box may restart for an update, in UTC. Left out: at any time.",
    expected: "two times such as 02:00-04:00",
    form: /^([01][0-9]|2[0-3]):[0-5][0-9]-([01][0-9]|2[0-3]):[0-5][0-9]$/,
  })),
}, (value, complain) => {
  if (value.automatic === true && value.source === undefined) {
    complain("automatic", `automatic updates need "source"; say where they lie.`);
  }
});

/** The whole seed. */
export const seedRule = record("What a MulgaOS box is told at its first boot.", {
  version: integer({
    about: "The version of this form, always 1.",
    min: seedVersion,
    max: seedVersion,
  }),
  hostname: optional(text({
    about: "The box's host name. Left out: mulga- and the node's id.",
    ...hostname,
  })),
  network: optional(record("Network interfaces. Left out: DHCP on every Ethernet port.", {
    interfaces: list({
      about: "The interfaces; those that are not named here stay off.",
      of: networkInterface,
      max: 32,
      once: ({ name, mac }) => `the interface ${name ?? mac?.toLowerCase()}`,
    }),
  })),
  time: optional(record("Time servers. Left out: those of DHCP, else Debian's pool.", {
    servers: list({
      about: "NTP servers.",
      of: server("A time server."),
      max: 8,
      once: unlike,
    }),
  })),
  ssh: optional(record("SSH to the box itself. Left out: off.", {
    keys: list({
      about: "Public keys that may log in as root; a key turns SSH on.",
      of: text({
        about: "A line of an authorized_keys file without options.",
        expected: "a public key such as ssh-ed25519 AAAA… name",
        form:
          /^(ssh-ed25519|ssh-rsa|ecdsa-sha2-nistp(256|384|521)|sk-[a-z0-9@.-]+) [A-Za-z0-9+/]+={0,2}( [^\r\n]*)?$/,
        longest: 8_192,
      }),
      max: 64,
      once: (key) => key.split(" ")[1]?.slice(-16),
    }),
  })),
  admin: optional(admin),
  region: optional(text({
    about: "The AWS region that the box founds or joins. Left out: ap-southeast-2.",
    ...region,
  })),
  az: optional(text({
    about: "The availability zone: the region and a letter. Left out: the region's a.",
    ...zone,
  })),
  cluster: optional(cluster),
  storage: optional(storage),
  install: optional(install),
  update: optional(update),
}, (value, complain) => {
  const trouble = value.az === undefined ? undefined : zoneTrouble(value.az, value.region);
  if (trouble !== undefined) complain("az", trouble);
});

export type Seed = ValueOf<typeof seedRule>;

/** Reads `mulga.yaml`. @returns undefined when it holds nothing but comments. @throws SeedError */
export function readSeed(bytes: Uint8Array, name: string): Seed | undefined {
  const document = parseDocument(decodeSeed(bytes, name), name);
  return document.root === undefined ? undefined : readRoot(document, document.root);
}

/**
 * Reads NoCloud's `user-data`: a seed under a first line `#mulga`, or the key `mulga` of a
 * cloud-config, whose other keys are cloud-init's.
 * @returns undefined when it is not for us. @throws SeedError
 */
export function readUserData(bytes: Uint8Array, name: string): Seed | undefined {
  if (isUtf16(bytes)) decodeSeed(bytes, name);
  const head = new TextDecoder().decode(bytes.subarray(0, 64)).replace(/^\ufeff/, "");
  const kind = /^(#[a-z-]+)[ \t]*(\r?\n|$)/.exec(head)?.[1];
  if (kind === "#mulga") return readSeed(bytes, name);
  if (kind !== "#cloud-config") return undefined;
  const document = parseDocument(decodeSeed(bytes, name), name);
  if (!isMap(document.root)) return undefined;
  const pair = document.root.items.find(({ key }) => isScalar(key) && key.value === "mulga");
  return pair === undefined ? undefined : readRoot(document, (pair.value ?? pair.key) as Node);
}

function readRoot(document: SeedDocument, root: Node): Seed {
  const node = plain(document, root);
  // A newer seed may have keys that this release does not know: its version is the true complaint.
  if (isMap(node)) {
    const version = node.get("version");
    if (typeof version === "number" && Number.isInteger(version) && version > seedVersion) {
      document.fail(
        node,
        `this seed has version ${version}, and this release reads version ${seedVersion}; ` +
          `update MulgaOS or write the seed for version ${seedVersion}.`,
      );
    }
  }
  return seedRule.read(document, node, "");
}

/** The JSON Schema of a seed, for editors. */
export function seedSchema(): JsonSchema {
  return {
    $schema: "http://json-schema.org/draft-07/schema#",
    title: "MulgaOS seed",
    ...seedRule.json(),
  };
}

/** The seed as it may be kept and logged: without what only its owner may know. */
export function withoutSecrets(seed: Seed): Seed {
  const { admin: _admin, cluster, ...rest } = seed;
  const { token: _token, ...open } = cluster ?? {};
  return {
    ...rest,
    ...(cluster === undefined ? {} : { cluster: open }),
  };
}
