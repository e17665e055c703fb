/**
 * Looks for the seed where it may be, in the order that `cloud-init/README.md` promises, and takes the
 * first that is there. One that cannot be understood ends the search: what its writer meant is not
 * what lies behind it.
 */
import { join } from "node:path";
import { readSeed, readUserData, type Seed, SeedError } from "../../../services/cluster/seed.ts";
import { longestSeed_bytes } from "../../../services/cluster/seed/document.ts";
import { writeWhole } from "../../init/write_file.ts";
import { bootPartitions, type Medium, noCloudMedia } from "./media.ts";
import type { System } from "./system.ts";
import { wipeSecrets } from "./wipe_secrets.ts";

export type Found =
  | {
    readonly kind: "seed";
    readonly seed: Seed;
    /** For messages. */
    readonly source: string;
  }
  | { readonly kind: "refused"; readonly sentence: string }
  | {
    readonly kind: "none";
    /** A sentence on what lies there under almost the right name. */
    readonly hint?: string;
  };

const seedFile = "mulga.yaml";
const credential = "mulga.seed";

/**
 * What lies there; one byte more than a seed may have is enough to refuse it. A medium may hold a pipe, or
 * a link to one, and whoever opens it waits for ever.
 * @throws SeedError when it is no plain file
 */
async function readFile(path: string, name: string): Promise<Uint8Array | undefined> {
  try {
    if (!(await Deno.lstat(path)).isFile) {
      throw new SeedError(`${name} is no plain file; put the seed itself there.`);
    }
    using file = await Deno.open(path);
    const bytes = new Uint8Array(longestSeed_bytes + 1);
    let length = 0;
    while (length < bytes.length) {
      const got = await file.read(bytes.subarray(length));
      if (got === null) break;
      length += got;
    }
    return bytes.subarray(0, length);
  } catch (error) {
    if (error instanceof Deno.errors.NotFound) return undefined;
    throw error;
  }
}

async function inMedium(medium: Medium, names: readonly string[]): Promise<Found> {
  for (const name of names) {
    const bytes = await readFile(join(medium.directory, name), `${name} on ${medium.name}`);
    if (bytes === undefined) continue;
    const seed = name === "user-data" ? readUserData(bytes, name) : readSeed(bytes, name);
    if (seed !== undefined) return { kind: "seed", seed, source: `${name} on ${medium.name}` };
  }
  return { kind: "none", ...await almost(medium, names) };
}

/** Editors and file managers add endings that they do not show. */
const almostNames: Readonly<Record<string, RegExp>> = {
  "mulga.yaml": /^mulga\.(ya?ml|txt)(\.txt)?$/i,
  "user-data": /^user[-_]?data(\.(ya?ml|txt))?$/i,
};

async function almost(
  medium: Medium,
  names: readonly string[],
): Promise<{ readonly hint?: string }> {
  const there = await Array.fromAsync(Deno.readDir(medium.directory));
  for (const name of names) {
    const found = there.find((one) => one.name !== name && almostNames[name]?.test(one.name));
    if (found === undefined) continue;
    return {
      hint:
        `${found.name} on ${medium.name} is not read: a seed is called ${name}. Rename it, and ` +
        `restart the box.`,
    };
  }
  return {};
}

async function inCredentials(system: System): Promise<Found> {
  const given = system.live ? Deno.env.get("CREDENTIALS_DIRECTORY") : undefined;
  for (const directory of [given, system.path("/run/credentials/@system")]) {
    if (directory === undefined) continue;
    const bytes = await readFile(join(directory, credential), `the credential ${credential}`);
    const seed = bytes === undefined ? undefined : readSeed(bytes, credential);
    if (seed !== undefined) return { kind: "seed", seed, source: `the credential ${credential}` };
  }
  return { kind: "none" };
}

/** The seed of this box. Never throws for what a seed holds, or for a medium that cannot be read. */
export async function findSeed(system: System): Promise<Found> {
  let hint: string | undefined;
  try {
    for await (const medium of bootPartitions(system)) {
      const found = await inMedium(medium, [seedFile]);
      if (found.kind !== "none") return found;
      hint ??= found.hint;
    }
    for await (const medium of noCloudMedia(system)) {
      const found = await inMedium(medium, [seedFile, "user-data"]);
      if (found.kind !== "none") return found;
      hint ??= found.hint;
    }
    const found = await inCredentials(system);
    return found.kind === "none" && hint !== undefined ? { kind: "none", hint } : found;
  } catch (error) {
    if (error instanceof SeedError) return { kind: "refused", sentence: error.message };
    const why = error instanceof Error ? error.message : String(error);
    return { kind: "refused", sentence: `A medium with a seed cannot be read: ${why}.` };
  }
}

/**
 * Removes the secrets from a seed on the boot partition, which anybody who holds the card can read.
 * @returns a sentence for the operator when that could not be done
 */
export async function wipeBootPartition(system: System, now: Date): Promise<string | undefined> {
  for await (const medium of bootPartitions(system)) {
    const path = join(medium.directory, seedFile);
    try {
      const bytes = await readFile(path, seedFile);
      if (bytes === undefined || readSeed(bytes, seedFile) === undefined) continue;
      const text = wipeSecrets(new TextDecoder().decode(bytes), now);
      if (text === undefined) continue;
      await medium.writable();
      await writeWhole(path, text, 0o644);
    } catch (error) {
      // What is no seed was refused and told; only its writer knows what it should be.
      if (error instanceof SeedError) continue;
      const why = error instanceof Error ? error.message : String(error);
      return `The secrets in ${seedFile} on the boot partition could not be removed (${why}); ` +
        `remove them by hand.`;
    }
  }
  return undefined;
}
