/**
 * Factory reset: the next start erases the data partition and makes it anew. What the boot needs for that
 * is the image's own business (`mulga-factory-reset.service`); here is who may ask for it, and that
 * nobody does by mistake.
 */
import { osReleaseField } from "../../../services/config/release.ts";
import { readConfig } from "../../../services/config/node_config.ts";
import { CommandError } from "../../terminal/command.ts";

export interface ResetPlaces {
  readonly osRelease: string;
  readonly dataDir: string;
  /** Makes the next start a reset and restarts. */
  readonly start: readonly [string, ...string[]];
}

export const applianceReset = (dataDir: string): ResetPlaces => ({
  osRelease: "/usr/lib/os-release",
  dataDir,
  // The target would only want it, and so not tell when it fails.
  start: ["systemctl", "start", "mulga-factory-reset.service"],
});

/** What would be lost, for the question. @throws CommandError on anything but the appliance */
export async function resetSubject(places: ResetPlaces): Promise<string> {
  const text = await Deno.readTextFile(places.osRelease).catch(() => "");
  if (osReleaseField(text, "IMAGE_ID") !== "mulgaos") {
    throw new CommandError(
      "This system is not the MulgaOS image: a factory reset would not know what is its own. " +
        "`deno task down --purge` removes a node that runs from a checkout.",
    );
  }
  try {
    const { node_id } = await readConfig(places.dataDir);
    return node_id;
  } catch {
    // Not claimed yet, or damaged: a reset is what helps then.
    return "this box";
  }
}

/** @throws CommandError when it cannot be begun */
export async function factoryReset(places: ResetPlaces): Promise<void> {
  const [program, ...args] = places.start;
  let said = "";
  try {
    const { success, stderr } = await new Deno.Command(program, { args, stdin: "null" }).output();
    if (success) return;
    said = new TextDecoder().decode(stderr).trim();
  } catch (error) {
    said = error instanceof Error ? error.message : String(error);
  }
  throw new CommandError(
    `The reset could not be begun, nothing was erased: ${said} Choose "Factory reset" in the boot menu, or, where there is none, write the image anew.`,
  );
}
