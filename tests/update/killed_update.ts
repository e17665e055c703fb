/**
 * A process that updates and says each step on standard output; with a step's name it kills itself
 * there, as a power cut would.
 */
import { directorySource } from "../../tasks/hive/update/source.ts";
import { lockUpdates } from "../../tasks/hive/update/state.ts";
import { runUpdate } from "../../tasks/hive/update/update.ts";
import { siteOf } from "./appliance_disk.ts";

const [directory = "", updates = "", boot = "", folder = "", killAt = ""] = Deno.args;
const site = siteOf({ directory, updates, boot });
using _lock = await lockUpdates(updates);
await runUpdate(site, directorySource(folder), {
  signal: new AbortController().signal,
  progress: () => {},
  onStep: (step) => {
    if (step === killAt) Deno.kill(Deno.pid, "SIGKILL");
    console.log(step);
  },
});
