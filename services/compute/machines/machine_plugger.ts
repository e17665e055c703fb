/** Plugs volumes into the running machines of this node, and takes them out again. */
import { AwsError, unavailable } from "../../aws/errors.ts";
import type { Attachment, InstanceRecord } from "../contract.ts";
import { UnplugRefused } from "./hypervisor.ts";
import type { MachineRegistry } from "./machine_registry.ts";
import type { VolumePlugger } from "../volumes/volume_plugger.ts";

export class MachinePlugger implements VolumePlugger {
  /** @param machines late, since the machines' keeper needs the volumes' and the other way round */
  constructor(readonly machines: () => MachineRegistry) {}

  async plug(
    instance: InstanceRecord,
    attachment: Attachment,
    socket: string,
    vhostSocket?: string,
  ): Promise<void> {
    const machine = await this.machines().find(instance.instance_id);
    if (machine === undefined) throw unavailable(`The machine of ${instance.instance_id}`);
    await machine.plug({
      volume_id: attachment.volume_id,
      socket,
      ...(vhostSocket === undefined ? {} : { vhost_socket: vhostSocket }),
      slot: attachment.slot,
    });
  }

  async grow(
    instance: InstanceRecord,
    attachment: Attachment,
    size_bytes: number,
  ): Promise<void> {
    const machine = await this.machines().find(instance.instance_id);
    if (machine === undefined) throw unavailable(`The machine of ${instance.instance_id}`);
    await machine.grow(attachment.volume_id, size_bytes);
  }

  async unplug(instance: InstanceRecord, attachment: Attachment): Promise<void> {
    const machine = await this.machines().find(instance.instance_id);
    if (machine === undefined) return;
    try {
      await machine.unplug(attachment.volume_id);
    } catch (error) {
      if (machine.isGone) return;
      if (!(error instanceof UnplugRefused)) throw error;
      throw new AwsError("ServiceUnavailable", error.message, { status: 503, cause: error });
    }
  }
}
