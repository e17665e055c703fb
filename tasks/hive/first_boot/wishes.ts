/**
 * What a new node shall be, from its seed or its claim, and the things that must be on the disk before
 * it is: the administrator's access key, for identity and (when nobody has it yet) for whoever fetches
 * it with the claim code; its part in a cluster.
 */
import { newAdminKey, readWish } from "../../../services/cluster/claim_desk.ts";
import {
  type Claim,
  type ClaimFiles,
  claimFiles,
  type ClusterPart,
  type Handover,
} from "../../../services/cluster/claim_files.ts";
import type { Seed } from "../../../services/cluster/seed.ts";
import type { Paths } from "../../../services/config/node_config.ts";
import {
  type GivenAdminKey,
  givenKeyFile,
  givenKeyText,
  isAccessKey,
} from "../../../services/identity/contract.ts";
import { type InitOptions, makePrivate } from "../../init/init.ts";
import { exists, removeWhole, writeWhole } from "../../init/write_file.ts";
import { dataBlobs, prepareDataDisk } from "./data_disk.ts";
import type { System } from "./system.ts";
import { usedToken } from "./wipe_secrets.ts";

async function readJson(path: string): Promise<unknown> {
  if (!await exists(path)) return undefined;
  try {
    return JSON.parse(await Deno.readTextFile(path));
  } catch {
    return null;
  }
}

/**
 * The claim that the cluster service wrote down. It comes from a process that faces the network, so
 * it is read as anything from there; one that cannot be is removed, and the box can be claimed anew.
 */
export async function readClaim(files: ClaimFiles, system: System): Promise<Claim | undefined> {
  const value = await readJson(files.claim) as Partial<Claim> | null | undefined;
  if (value === undefined) return undefined;
  try {
    const { version, region, az, hostname, admin, claimed_at } = value ?? {};
    if (version !== 1 || admin === undefined || !isAccessKey(admin)) throw new Error("no claim");
    const wanted = readWish({
      code: "",
      ...(region === undefined ? {} : { region: String(region) }),
      ...(az === undefined ? {} : { az: String(az) }),
      ...(hostname === undefined ? {} : { hostname: String(hostname) }),
    });
    return { version, ...wanted, admin, claimed_at: String(claimed_at) };
  } catch {
    system.say("The claim of this box cannot be read and was dropped; claim it anew.");
    await removeWhole(files.claim);
    return undefined;
  }
}

/**
 * Writes what must be there before the node, and says what the node shall be.
 * @throws CommandError in one sentence when this machine cannot be what the seed says
 */
export async function prepareNode(
  paths: Paths,
  seed: Seed | undefined,
  claim: Claim | undefined,
  system: System,
): Promise<InitOptions> {
  const dataDisk = seed?.storage?.data_disk;
  if (dataDisk !== undefined) await prepareDataDisk(dataDisk, system);
  const { data_shards, parity_shards } = seed?.storage ?? {};
  const blobs = seed?.storage?.blobs ?? (dataDisk === undefined ? undefined : [dataBlobs]);
  // Before there is a node: one whose directories cannot be would fail at every boot.
  for (const blob of blobs ?? []) await makePrivate(blob);
  const files = claimFiles(paths);
  const admin = seed?.admin ?? claim?.admin ?? await promisedKey(files);
  await Deno.mkdir(paths.service("identity"), { recursive: true, mode: 0o700 });
  await writeWhole(givenKeyFile(paths), givenKeyText(admin), 0o600);
  const part = partOf(seed);
  if (part !== undefined) {
    await writeWhole(files.part, `${JSON.stringify(part)}\n`, 0o600);
  }
  const { region, az } = seed ?? claim ?? {};
  return {
    ...(region === undefined ? {} : { region }),
    ...(az === undefined ? {} : { az }),
    storage: {
      ...(blobs === undefined ? {} : { blobs }),
      ...(data_shards === undefined ? {} : { data_shards }),
      ...(parity_shards === undefined ? {} : { parity_shards }),
    },
  };
}

/** A key that nobody has yet: the same one however often this is cut off. */
async function promisedKey(files: ClaimFiles): Promise<GivenAdminKey> {
  const before = await readJson(files.handover) as Partial<Handover> | null | undefined;
  if (before?.admin !== undefined && isAccessKey(before.admin)) return before.admin;
  const admin = newAdminKey();
  await writeWhole(files.handover, `${JSON.stringify({ version: 1, admin })}\n`, 0o600);
  return admin;
}

function partOf(seed: Seed | undefined): ClusterPart | undefined {
  if (seed?.cluster === undefined) return undefined;
  const { nodes = 1, token, ...rest } = seed.cluster;
  return {
    version: 1,
    nodes,
    ...rest,
    ...(token === undefined || token === usedToken ? {} : { token }),
  };
}
