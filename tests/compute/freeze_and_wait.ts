/** Freezes a guest as compute does, and waits to be killed. Arguments: the data directory, the instance's id. */
import { createLog } from "../../services/log/log.ts";
import { pathsOf } from "../../services/config/node_config.ts";
import { GuestFreezer, usualFreezeBounds } from "../../services/compute/machines/guest_freezer.ts";
import { QemuHypervisor } from "../../services/compute/machines/qemu.ts";

const [root = "", instance_id = ""] = Deno.args;
const paths = pathsOf(root);
const log = createLog("test");
const hypervisor = new QemuHypervisor({ paths, accelerator: "tcg", log });
const machine = await hypervisor.find(instance_id);
const freezer = new GuestFreezer({
  paths,
  log,
  find: () => Promise.resolve(machine),
  // Only its death ends it.
  bounds: { ...usualFreezeBounds, frozen_ms: 600_000 },
});
console.log(`frozen: ${await freezer.freeze({ instance_id, token: "killed" })}`);
await new Promise(() => {});
