/**
 * Who owns what below the data directory where every service is a Unix user of its own: the
 * appliance and Debian hosts with the package. In a checkout one user runs everything and none of
 * this applies.
 *
 * One table, each row with its reason. What is not in it belongs to root and is closed: the
 * operator's nkey, the authority's key, AWS profiles, backups. A directory of sockets belongs to who
 * listens, and its group, which the set-group-id bit hands on to each socket, is that of who
 * connects; so nobody needs to be in anybody's group, and no third service reaches a socket.
 *
 * Applying is repeatable and follows no symbolic link; a run that was cut off is finished by the next.
 */
import { join } from "node:path";
import type { NodeConfig, Paths } from "../../services/config/node_config.ts";
import { services, type ServiceSpec } from "../../services/manifest.ts";
import { operatorName } from "./bus_permissions.ts";

export interface Ownership {
  readonly path: string;
  readonly owner: string;
  readonly group: string;
  readonly mode: number;
  /** Whether everything below belongs to the same owner and group. */
  readonly below?: true;
  readonly reason: string;
}

/** Every service but the bus itself is in this group: it may read what the node is. */
export const nodeGroup = "mulga";

const userOf = (name: ServiceSpec["name"]): string => {
  const found = services.find((service) => service.name === name);
  if (found === undefined) throw new RangeError(`there is no service ${name}`);
  return found.user;
};

/** The table for a node whose object shards are in `blobs`. */
export function ownerships(paths: Paths, blobs: readonly string[]): Ownership[] {
  const [bus, objects, blocks, gateway, compute, metadata, identity] = [
    userOf("nats"),
    userOf("predastore"),
    userOf("viperblock"),
    userOf("gateway"),
    userOf("compute"),
    userOf("metadata"),
    userOf("identity"),
  ];
  const passage = (path: string, reason: string): Ownership => ({
    path,
    owner: "root",
    group: "root",
    mode: 0o711,
    reason,
  });
  const sockets = (path: string, from: string, to: string, reason: string): Ownership => ({
    path: join(path, ".."),
    owner: from,
    group: to,
    mode: 0o2750,
    reason,
  });
  return [
    passage(paths.root, "services pass through to what is theirs; only root lists it"),
    {
      path: paths.config,
      owner: "root",
      group: nodeGroup,
      mode: 0o640,
      reason: "every service reads what its node is; only the operator changes it",
    },
    passage(paths.secrets, "services pass through to their own seed"),
    passage(join(paths.secrets, "nkeys"), "the same"),
    ...services.filter((service) => service.name !== "nats").map((service): Ownership => ({
      path: paths.nkey(service.name),
      owner: service.user,
      group: service.user,
      mode: 0o400,
      reason: "a seed is who the service is on the bus: nobody else may have it",
    })),
    {
      path: paths.nkey(operatorName),
      owner: "root",
      group: "root",
      mode: 0o400,
      reason: "`hive` speaks with it, and `hive` is root's",
    },
    {
      path: paths.masterKey,
      owner: identity,
      group: identity,
      mode: 0o400,
      reason: "identity alone decrypts access keys",
    },
    {
      path: paths.objectKeys,
      owner: objects,
      group: objects,
      mode: 0o400,
      reason: "predastore alone opens what it sealed",
    },
    {
      path: paths.volumeKeys,
      owner: userOf("viperblock"),
      group: userOf("viperblock"),
      mode: 0o400,
      reason: "viperblock alone opens the keys of encrypted volumes",
    },
    passage(join(paths.tls.ca, ".."), "certificates are public; each key has a mode of its own"),
    { path: paths.tls.ca, owner: "root", group: "root", mode: 0o644, reason: "clients trust it" },
    {
      path: paths.tls.caKey,
      owner: "root",
      group: "root",
      mode: 0o400,
      reason: "certificates are made by root before the services start",
    },
    { path: paths.tls.cert, owner: "root", group: "root", mode: 0o644, reason: "public" },
    {
      path: paths.tls.key,
      owner: gateway,
      group: objects,
      mode: 0o440,
      reason: "the two doors that speak TLS: the gateway's and S3's",
    },
    { path: paths.tls.control.cert, owner: "root", group: "root", mode: 0o644, reason: "public" },
    {
      path: paths.tls.control.key,
      owner: userOf("cluster"),
      group: userOf("cluster"),
      mode: 0o400,
      reason: "the control server's own: what faces an unclaimed network has no other door's key",
    },
    {
      path: paths.nats,
      owner: bus,
      group: bus,
      mode: 0o700,
      below: true,
      reason: "the bus's store: whoever writes it writes the state of the cloud",
    },
    {
      path: paths.natsConfig,
      owner: "root",
      group: bus,
      mode: 0o640,
      reason: "made anew by root at every start",
    },
    ...services.filter((service) => service.name !== "nats").map((service): Ownership => ({
      path: paths.service(service.name),
      owner: service.user,
      group: service.user,
      mode: 0o700,
      below: true,
      reason: `what ${service.name} keeps`,
    })),
    ...blobs.map((path): Ownership => ({
      path,
      owner: objects,
      group: objects,
      mode: 0o700,
      below: true,
      reason: "object shards",
    })),
    passage(paths.run, "services pass through to the sockets that they may use"),
    sockets(paths.s3Front, objects, gateway, "the gateway hands S3 calls on, which are verified"),
    sockets(
      paths.s3Delegate,
      objects,
      compute,
      "trusts its peer to say for whom it asks: disk images on their way from and to buckets",
    ),
    sockets(paths.s3System, objects, blocks, "trusts its peer: the block engine's chunks, only"),
    sockets(paths.nbd("any"), blocks, compute, "QEMU, which runs as compute, opens volumes"),
    sockets(paths.qmp("any"), compute, compute, "machine protocol and consoles: compute and root"),
    sockets(paths.imds("any"), metadata, compute, "QEMU hands a guest's questions on"),
    {
      path: join(paths.root, "images"),
      owner: "root",
      group: compute,
      mode: 0o2750,
      reason: "compute imports images that the operator put there",
    },
  ];
}

/** The directories of the table that a user writes: what its unit opens. */
export function writableBy(user: string, rows: readonly Ownership[]): string[] {
  return rows
    .filter((row) => row.owner === user && (row.mode & 0o200) !== 0)
    .map((row) => row.path);
}

/** The numbers of users and groups by name. */
export interface Accounts {
  readonly users: ReadonlyMap<string, number>;
  readonly groups: ReadonlyMap<string, number>;
}

async function localAccounts(): Promise<Accounts> {
  const read = async (path: string) =>
    new Map(
      (await Deno.readTextFile(path)).split("\n").map((line) => line.split(":"))
        .filter((fields) => fields.length > 2)
        .map((fields) => [fields[0] ?? "", Number(fields[2])]),
    );
  return { users: await read("/etc/passwd"), groups: await read("/etc/group") };
}

/** A user or group of the table does not exist on this system. */
export class UnknownAccount extends Error {
  override readonly name = "UnknownAccount";
}

/** Gives everything to its owner. Runs as root. @throws UnknownAccount before anything is changed */
export async function applyOwnership(
  config: Pick<NodeConfig, "storage"> | undefined,
  paths: Paths,
  accounts?: Accounts,
): Promise<void> {
  const rows = ownerships(paths, config?.storage.blobs ?? []);
  const { users, groups } = accounts ?? await localAccounts();
  const numbered = rows.map((row) => {
    const [uid, gid] = [users.get(row.owner), groups.get(row.group)];
    if (uid === undefined || gid === undefined) {
      const missing = uid === undefined ? `user ${row.owner}` : `group ${row.group}`;
      throw new UnknownAccount(
        `This system has no ${missing}; \`systemd-sysusers\` makes it from sysusers.d/mulga.conf.`,
      );
    }
    return { ...row, uid, gid };
  });
  for (const { path, uid, gid, mode, below } of numbered) {
    let found: Deno.FileInfo;
    try {
      found = await Deno.lstat(path);
    } catch (error) {
      // Not made yet: by the service itself, or by its first use.
      if (error instanceof Deno.errors.NotFound) continue;
      throw error;
    }
    if (found.isSymlink) continue;
    if (below === true) await giveTree(path, uid, gid);
    if (found.uid !== uid || found.gid !== gid) await Deno.chown(path, uid, gid);
    if (((found.mode ?? 0) & 0o7777) !== mode || found.gid !== gid) await Deno.chmod(path, mode);
  }
}

/**
 * Gives what is below to the owner of the top. A directory is given after what is in it, so a run
 * that is cut off finds it as it was; one that has its owner already is not walked again.
 */
async function giveTree(path: string, uid: number, gid: number): Promise<void> {
  for await (const entry of Deno.readDir(path)) {
    if (entry.isSymlink) continue;
    const child = join(path, entry.name);
    const found = await Deno.lstat(child);
    if (found.uid === uid) continue;
    if (found.isDirectory) await giveTree(child, uid, gid);
    await Deno.chown(child, uid, gid);
  }
}
