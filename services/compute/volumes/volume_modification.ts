/**
 * A volume that is `modifying` becomes larger or gets other limits, attached or not, without a pause for its guest.
 *
 * The block store is told, then the machine that has the volume, then the record says `completed`. Every step may be
 * repeated, so a crash at any point is gone on from. Blocks are where they were: nothing is left to optimize afterwards.
 */
import { AwsError, unavailable } from "../../aws/errors.ts";
import { resizeVolume } from "../../viperblock/contract.ts";
import type { VolumeRecord } from "../contract.ts";
import { gib, type VolumeDependencies } from "./volume_lifecycle.ts";

/** The block store refuses it for good: the volume stays as it was, and may be modified otherwise. */
async function failModification(
  { volumes, log }: VolumeDependencies,
  { account_id, volume_id }: VolumeRecord,
  message: string,
): Promise<void> {
  log.warn("volume_not_modified", { volume_id, error: message });
  await volumes.modify(
    account_id,
    volume_id,
    (now) =>
      now.modification?.state !== "modifying" ? now : {
        ...now,
        modification: {
          ...now.modification,
          state: "failed",
          message,
          end_time: new Date().toISOString(),
        },
      },
  );
}

export async function finishModifying(
  dependencies: VolumeDependencies,
  volume: VolumeRecord,
): Promise<void> {
  const { bus, plugger, instances, volumes } = dependencies;
  const { account_id, volume_id, modification } = volume;
  if (modification?.state !== "modifying") return;
  const { target } = modification;
  const size_bytes = target.size_gib * gib;
  try {
    await bus.ask(resizeVolume, {
      volume_id,
      size_bytes,
      iops: target.iops,
      throughput_bytes: target.throughput * 1024 * 1024,
    });
  } catch (error) {
    if (!(error instanceof AwsError) || error.status >= 500) throw error;
    return await failModification(dependencies, volume, error.message);
  }
  const { attachment } = volume;
  if (attachment !== undefined && target.size_gib > modification.original.size_gib) {
    const key = instances.keyOf(account_id, attachment.instance_id);
    const instance = (await instances.table.read(key))?.value;
    if (instance?.state === "running") {
      const entry = instance.attachments.find((other) => other.volume_id === volume_id);
      if (entry?.status === "attached") await plugger.grow(instance, entry, size_bytes);
    } else if (
      instance !== undefined && instance.state !== "stopped" && instance.state !== "terminated"
    ) {
      throw unavailable(`Instance ${instance.instance_id}, which is ${instance.state},`);
    }
  }
  await volumes.modify(account_id, volume_id, (now) => {
    if (now.modification?.state !== "modifying") return now;
    return {
      ...now,
      ...target,
      modification: {
        ...now.modification,
        state: "completed",
        end_time: new Date().toISOString(),
      },
    };
  });
}
