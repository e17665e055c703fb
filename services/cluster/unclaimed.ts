/**
 * The service on a box that nobody has claimed: it waits for the claim and does nothing else. There is
 * no bus to speak on and no configuration to read; who the box is, its certificate and its directory
 * were made by the first-boot step.
 */
import { defaultAnnounce, defaultPorts, type Paths } from "../config/node_config.ts";
import { releaseVersion } from "../config/release.ts";
import { runAlone } from "../runtime/run_alone.ts";
import { readCertificate } from "./certificate.ts";
import { openClaimCode } from "./claim_code.ts";
import { BoxDesk } from "./claim_desk.ts";
import { type Box, claimFiles, readNotice } from "./claim_files.ts";
import { readJson } from "./durable_file.ts";
import { openNodeKey } from "./node_key.ts";
import { Presence } from "./presence.ts";

const everywhere = "0.0.0.0";

export async function runUnclaimed(paths: Paths): Promise<void> {
  await runAlone("cluster", async ({ log, stopping, onStop }) => {
    const files = claimFiles(paths);
    const box = await readJson(files.box) as Box | undefined;
    if (box === undefined) {
      throw new Error(
        `There is neither a node in ${paths.root} nor a box to claim; \`hive admin first-boot\` makes one.`,
      );
    }
    const desk = await BoxDesk.open(await openClaimCode(files.code), log, files, box.node_id);
    const presence = await Presence.start({
      log,
      stopping,
      bind: everywhere,
      ports: { ...defaultPorts, ...box.ports },
      announce: { ...defaultAnnounce, ...box.announce },
      key: await openNodeKey(paths),
      certificate: await readCertificate(paths.tls.control),
      caCertificate: await Deno.readTextFile(paths.tls.ca),
      desk,
      files,
      made: false,
      ...await readNotice(files),
      node: {
        cluster_id: "",
        node_id: box.node_id,
        host: Deno.hostname(),
        version: releaseVersion(),
        caps: [],
        state: "unclaimed",
      },
    });
    onStop(() => presence[Symbol.asyncDispose]());
  });
}
