/** What `hive update --status` shows: what runs, what is installed, and how far an update has come. */
import { table } from "../../terminal/table.ts";
import type { InstalledVersion } from "./slots.ts";
import { bootId, isLocked, readState, type UpdateState } from "./state.ts";
import type { UpdateSite } from "./update.ts";

export interface UpdateStatus {
  readonly current: string;
  readonly versions: readonly InstalledVersion[];
  readonly running: boolean;
  readonly state: UpdateState;
  /**
   * `restart`: the next start tries the new version; `done`: it runs; `rolled_back`: it was tried and
   * the machine went back by itself.
   */
  readonly outcome?: "restart" | "done" | "rolled_back";
}

export async function updateStatus(site: UpdateSite): Promise<UpdateStatus> {
  const [current, versions, state, running, boot] = await Promise.all([
    site.slots.current(),
    site.slots.list(),
    readState(site.directory),
    isLocked(site.directory),
    bootId(),
  ]);
  // Cut off between the slot's last byte and the state's, it may have been started all the same.
  const outcome = state.phase !== "idle" && state.version === current
    ? "done"
    : state.phase !== "installed"
    ? undefined
    : state.boot_id === boot
    ? "restart"
    : "rolled_back";
  return { current, versions, running, state, ...(outcome === undefined ? {} : { outcome }) };
}

function sentence({ state, running, outcome, current }: UpdateStatus): string {
  if (state.phase === "idle") {
    return running ? "An update is beginning." : "No update is under way.";
  }
  if (outcome === "done") return `The update to ${state.version} is done.`;
  if (state.phase !== "installed") {
    return `Version ${state.version} from ${state.source}: ${state.phase}` +
      (running ? "." : ", and no command is at it; `hive update` goes on, --abort takes it back.");
  }
  return outcome === "restart"
    ? `Version ${state.version} is installed; the next start tries it.`
    : `Version ${state.version} was tried and did not prove itself; the machine went back to ${current}.`;
}

export function statusText(status: UpdateStatus): string {
  const rows = status.versions.map((one) => [
    one.version,
    one.running ? "running" : "",
    one.state,
  ]);
  return [
    table(["VERSION", "", "STATE"], rows),
    "",
    sentence(status),
    ...(status.state.last_error === undefined ? [] : [`Last: ${status.state.last_error}`]),
  ].join("\n");
}
