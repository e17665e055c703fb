/** The service on a node: announces it, hears its peers, and hands over an access key that nobody has. */
import { announceOf } from "../config/node_config.ts";
import { releaseVersion } from "../config/release.ts";
import type { Service } from "../runtime/run_service.ts";
import { readCertificate } from "./certificate.ts";
import { openClaimCode } from "./claim_code.ts";
import { type ClaimDesk, KeyDesk } from "./claim_desk.ts";
import { claimFiles, type ClusterPart, readNotice } from "./claim_files.ts";
import { neighbourhood } from "./contract.ts";
import { readJson, removeDurably } from "./durable_file.ts";
import { openNodeKey } from "./node_key.ts";
import { Presence } from "./presence.ts";
import { capabilities } from "./names.ts";

export async function runNode(service: Service): Promise<void> {
  const { bus, config, log, paths, stopping, onStop, reportHealth } = service;
  const files = claimFiles(paths);
  let desk: ClaimDesk | undefined;
  if (await readJson(files.handover) !== undefined) {
    desk = new KeyDesk(await openClaimCode(files.code), log, files, config);
  } else await removeDurably(files.code);
  const part = await readJson(files.part) as ClusterPart | undefined;
  const presence = await Presence.start({
    log,
    stopping,
    bind: config.bind,
    ports: config.ports,
    announce: announceOf(config),
    key: await openNodeKey(paths),
    certificate: await readCertificate(paths.tls.control),
    caCertificate: await Deno.readTextFile(paths.tls.ca),
    desk,
    files,
    made: true,
    ...await readNotice(files),
    node: {
      cluster_id: config.cluster_id,
      node_id: config.node_id,
      host: Deno.hostname(),
      version: releaseVersion(),
      caps: part?.capabilities ?? capabilities,
      state: "alone",
    },
  });
  onStop(() => presence[Symbol.asyncDispose]());
  const { announcer } = presence;
  bus.answer(neighbourhood, () => ({
    peers: announcer?.peers.list() ?? [],
    dropped: announcer?.dropped ?? {},
    speaks_from: announcer?.speaksFrom ?? [],
  }));
  reportHealth(() => ({
    status: presence.trouble === undefined ? "ok" : "degraded",
    ...(presence.trouble === undefined ? {} : { detail: presence.trouble }),
    facts: {
      peers: announcer?.peers.size ?? 0,
      announcements_sent: announcer?.sent ?? 0,
      announcements_heard: announcer?.heard ?? 0,
      announcements_dropped: announcer?.droppedTotal ?? 0,
      claim: desk?.state ?? "claimed",
      nodes_wanted: part?.nodes ?? 1,
    },
  }));
}
