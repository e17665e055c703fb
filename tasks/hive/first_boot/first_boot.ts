/**
 * `hive admin first-boot`: everything between power-on and the start of the services, as root, at every
 * boot, and again when the box is claimed or its addresses change.
 *
 * On the appliance it looks for a seed, applies what may change at any time, and makes the node when a
 * seed or a claim says so; without either the box stays unclaimed and offers the claim. On a Debian
 * host with the package the host's settings are its administrator's: the node is made, and nothing
 * else is touched.
 *
 * Each part looks first whether it is done and writes whole files, so a run that is cut off at any
 * line is finished by the next. What makes the node what it is (its configuration) is written after
 * everything that could not be made again: the access key that somebody was promised.
 */
import { join } from "node:path";
import { claimFiles } from "../../../services/cluster/claim_files.ts";
import { pathsOf } from "../../../services/config/node_config.ts";
import { initNode, type Node } from "../../init/init.ts";
import { applyOwnership, UnknownAccount } from "../../init/ownership.ts";
import { writeUnitEnvironment } from "../../init/unit_environment.ts";
import { exists, isDiskFull, removeWhole, writeChanged } from "../../init/write_file.ts";
import { CommandError } from "../../terminal/command.ts";
import { openBox } from "./box.ts";
import { digestOf, readRecord, writeRecord } from "./record.ts";
import { applySettings, setHostname } from "./settings.ts";
import { findSeed, type Found, wipeBootPartition } from "./seed_sources.ts";
import type { System } from "./system.ts";
import { prepareNode, readClaim } from "./wishes.ts";

export interface FirstBootOptions {
  readonly dataDir: string;
  readonly system: System;
  /** Whether the whole system is MulgaOS's, or only a guest on somebody's Debian. */
  readonly appliance: boolean;
  readonly now?: Date;
}

export type Outcome =
  | { readonly state: "unclaimed"; readonly node_id: string }
  | { readonly state: "made" | "completed"; readonly node: Node };

/** The addresses that an installed node listens on unless its configuration says otherwise. */
const everywhere = "0.0.0.0";

export async function firstBoot(options: FirstBootOptions): Promise<Outcome> {
  const { dataDir, system } = options;
  await Deno.mkdir(dataDir, { recursive: true });
  // A claim may come while the boot's own run is not done.
  using lock = await Deno.open(join(dataDir, "first-boot.lock"), { create: true, write: true });
  await lock.lock(true);
  const paths = pathsOf(dataDir);
  const files = claimFiles(paths);
  await Deno.mkdir(paths.service("cluster"), { recursive: true, mode: 0o700 });
  // Before the certificates are looked at: whoever asks from now on asks for the next ones.
  await removeWhole(files.certificateWanted);

  const outcome = options.appliance
    ? await setUpAppliance(options)
    : await completeNode(dataDir, await exists(paths.config) ? {} : { bind: everywhere });
  await giveToOwners(outcome, dataDir, system);
  await startAnew(outcome, system);
  return outcome;
}

async function completeNode(
  dataDir: string,
  wishes: Parameters<typeof initNode>[1],
): Promise<Outcome> {
  const node = await initNode(dataDir, wishes);
  await writeUnitEnvironment(node.config, node.paths);
  return { state: node.created ? "made" : "completed", node };
}

async function setUpAppliance(options: FirstBootOptions): Promise<Outcome> {
  const { dataDir, system, now = new Date() } = options;
  const paths = pathsOf(dataDir);
  const files = claimFiles(paths);
  const record = await readRecord(paths);
  const found = await findSeed(system);
  const seed = found.kind === "seed" ? found.seed : undefined;
  const digest = seed === undefined ? undefined : digestOf(seed);
  const box = await openBox(paths);
  const claim = await readClaim(files, system);
  const madeBefore = await exists(paths.config);
  const notices = found.kind === "refused" ? [found.sentence] : [];

  // A name that was given once stays until another is given.
  const hostname = seed?.hostname ?? claim?.hostname ?? record.hostname ?? box.hostname;
  const settle = async () => {
    if (seed !== undefined && digest !== record.digest) await applySettings(seed, system);
    await setHostname(hostname, system);
    return true;
  };
  const settled = madeBefore ? await gentle(settle(), notices) : await settle();

  let outcome: Outcome;
  if (madeBefore) {
    outcome = await completeNode(dataDir, {});
    if (seed !== undefined && digest !== record.digest) {
      for (const said of whatStays(seed, outcome)) system.say(said);
    }
  } else {
    const wishes = seed === undefined && claim === undefined
      ? undefined
      : await possible(prepareNode(paths, seed, claim, system), notices);
    if (wishes === undefined) {
      if (claim !== undefined) {
        // Its file starts this step: left there, it would start it for ever.
        await removeWhole(files.claim);
        notices.push(
          "The claim was dropped; mend that, restart, and claim the box anew if it is not set up then.",
        );
      }
      await box.prepare();
      outcome = { state: "unclaimed", node_id: box.node_id };
    } else {
      outcome = await completeNode(dataDir, { ...wishes, bind: everywhere, nodeId: box.node_id });
    }
  }

  const next = {
    ...record,
    hostname,
    ...(seed === undefined || digest === undefined
      ? {}
      : { digest, seed, source: sourceOf(found) }),
  };
  if (settled === true) {
    if (madeBefore) await gentle(writeRecord(paths, next, now), notices);
    else await writeRecord(paths, next, now);
  }
  if (outcome.state !== "unclaimed") {
    await removeWhole(files.claim);
    const trouble = await wipeBootPartition(system, now);
    if (trouble !== undefined) notices.push(trouble);
  } else if (found.kind === "none" && found.hint !== undefined) notices.push(found.hint);
  await tell(files.notice, notices, system);
  return outcome;
}

/** What cannot be on this machine is a sentence for the screen, and the box waits for better. */
async function possible<T>(work: Promise<T>, notices: string[]): Promise<T | undefined> {
  try {
    return await work;
  } catch (error) {
    if (!(error instanceof CommandError)) throw error;
    notices.push(error.message);
    return undefined;
  }
}

/** A node that is there starts with the settings that it had when there is no room for others. */
async function gentle<T>(work: Promise<T>, notices: string[]): Promise<T | undefined> {
  try {
    return await work;
  } catch (error) {
    if (!isDiskFull(error)) throw error;
    notices.push(
      `The seed's settings could not be written, since the data partition is full; the node goes on with those that it has. ` +
        `Make room, and restart the box.`,
    );
    return undefined;
  }
}

const sourceOf = (found: Found) => found.kind === "seed" ? found.source : "";

/** What a seed says that a node that is there already cannot become. */
function whatStays(
  seed: NonNullable<Extract<Found, { kind: "seed" }>["seed"]>,
  outcome: Outcome,
): string[] {
  if (outcome.state === "unclaimed") return [];
  const { config } = outcome.node;
  const stays = [
    ...(seed.region !== undefined && seed.region !== config.region ? ["region"] : []),
    ...(seed.az !== undefined && seed.az !== config.az ? ["az"] : []),
    ...(seed.admin === undefined ? [] : ["admin"]),
    ...(seed.storage === undefined ? [] : ["storage"]),
    ...(seed.cluster === undefined ? [] : ["cluster"]),
  ];
  return stays.length === 0 ? [] : [
    `The seed's ${
      stays.join(", ")
    } count only when a node is made; this one stays as it is. Host ` +
    `name, network, time, SSH and the source of updates were applied.`,
  ];
}

/** The sentences that the screen shows; without any, what it showed before goes. */
async function tell(path: string, notices: readonly string[], system: System): Promise<void> {
  if (notices.length === 0) return await removeWhole(path);
  for (const notice of notices) system.say(notice);
  const text = `${JSON.stringify({ version: 1, text: notices.join(" ") })}\n`;
  // On a full disk the log has it, and the node starts.
  await writeChanged(path, text, 0o600).catch((error) => {
    if (!isDiskFull(error)) throw error;
  });
}

async function giveToOwners(outcome: Outcome, dataDir: string, system: System): Promise<void> {
  const config = outcome.state === "unclaimed" ? undefined : outcome.node.config;
  try {
    await applyOwnership(config, pathsOf(dataDir));
  } catch (error) {
    // A tree of files is nobody's yet.
    if (!(error instanceof UnknownAccount) || system.live) throw error;
  }
}

/** Starts what has become possible, and restarts what has a new certificate to read. */
async function startAnew(outcome: Outcome, system: System): Promise<void> {
  const systemctl = (...args: string[]) => system.run("systemctl", "--no-block", ...args);
  if (outcome.state === "unclaimed") {
    await systemctl("try-restart", "mulga-cluster.service");
  } else if (outcome.state === "made") {
    await systemctl("try-restart", "mulga-cluster.service");
    await systemctl("start", "mulga.target");
  } else if (outcome.node.renewed) {
    const doors = ["gateway", "predastore", "cluster"].map((name) => `mulga-${name}.service`);
    await systemctl("try-restart", ...doors);
  }
}
