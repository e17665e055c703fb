/** Starts compute on this node. */
import { ResourceAuthorizer } from "../aws/authorizer.ts";
import { runService } from "../runtime/run_service.ts";
import { startCompute } from "./compute.ts";
import { chooseDiskDoor } from "./machines/disk_door.ts";
import { chooseAccelerator } from "./machines/node_machine.ts";
import { QemuHypervisor } from "./machines/qemu.ts";

await runService("compute", async ({ bus, config, log, onStop, paths, reportHealth }) => {
  const [accelerator, disks] = await Promise.all([
    chooseAccelerator(config.compute.accelerator, log),
    chooseDiskDoor(config.compute.disks, log),
  ]);
  const hypervisor = new QemuHypervisor({ paths, accelerator, disks, log });
  const authorizer = new ResourceAuthorizer(bus);
  onStop(() => authorizer[Symbol.asyncDispose]());
  const compute = await startCompute({
    bus,
    log,
    config,
    paths,
    hypervisor,
    authorize: (wish, call) => authorizer.may(wish, call),
  });
  onStop(() => compute.stop());
  reportHealth(() => ({ status: "ok", facts: compute.facts() }));
});
