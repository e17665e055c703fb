/**
 * Updates without being asked: a timer that looks for a newer version within the seed's window and
 * restarts into it. The window bounds the whole: what has not been fetched by its end goes on the next
 * day.
 */
import type { Seed } from "../../../services/cluster/seed.ts";
import type { System } from "./system.ts";

const made = "# Made from the seed; changes here are lost.";
const unit = (kind: "service" | "timer") => `/etc/systemd/system/mulga-update.${kind}`;
const enabled = "/etc/systemd/system/timers.target.wants/mulga-update.timer";
const day_s = 86_400;

/** Begin in UTC and length of `22:00-02:00`. */
function windowOf(text: string | undefined): { readonly from: string; readonly length_s: number } {
  if (text === undefined) return { from: "00:00", length_s: day_s };
  const [from = "", to = ""] = text.split("-");
  const seconds = (time: string) => {
    const [hours = 0, minutes = 0] = time.split(":").map(Number);
    return hours * 3_600 + minutes * 60;
  };
  const length_s = (seconds(to) - seconds(from) + day_s) % day_s;
  return { from, length_s: length_s === 0 ? day_s : length_s };
}

/** The units by their path; none when updates are asked for by hand. */
export function updateTimerFiles(update: Seed["update"]): ReadonlyMap<string, string> {
  if (update?.automatic !== true || update.source === undefined) return new Map();
  const { from, length_s } = windowOf(update.window);
  // Many boxes with the same seed do not ask the server in the same second.
  const spread_s = Math.floor(length_s / 4);
  const text = (...lines: string[]) => [made, ...lines, ""].join("\n");
  return new Map([
    [
      unit("timer"),
      text(
        "[Unit]",
        "Description=MulgaOS: updates in their window",
        "",
        "[Timer]",
        `OnCalendar=*-*-* ${from}:00 UTC`,
        `RandomizedDelaySec=${spread_s}`,
      ),
    ],
    [
      unit("service"),
      text(
        "[Unit]",
        "Description=MulgaOS: install a newer version and restart into it",
        "",
        "[Service]",
        "Type=oneshot",
        // Nothing newer there, or nobody who answers, is no failure of this box.
        "ExecCondition=/usr/bin/hive update --check",
        "ExecStart=/usr/bin/hive update --reboot",
        `TimeoutStartSec=${length_s - spread_s}`,
      ),
    ],
  ]);
}

export async function applyUpdateTimer(update: Seed["update"], system: System): Promise<void> {
  const files = updateTimerFiles(update);
  let changed = false;
  for (const kind of ["service", "timer"] as const) {
    const content = files.get(unit(kind));
    changed = (content === undefined
      ? await system.remove(unit(kind))
      : await system.write(unit(kind), content)) || changed;
  }
  if (files.size > 0) await system.link(enabled, unit("timer"));
  else await system.remove(enabled);
  if (!changed) return;
  await system.run("systemctl", "daemon-reload");
  const verb = files.size > 0 ? "restart" : "stop";
  await system.run("systemctl", "--no-block", verb, "mulga-update.timer");
}
