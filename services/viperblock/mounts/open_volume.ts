/**
 * Opens a volume: for writing, again where its disk did not give all of it for a moment, and for reading only
 * where it is damaged or its disk goes on like that.
 */
import type { Rescue, SavedBase } from "../engine/salvage.ts";
import { type MountOptions, WorkerFailed } from "./mount_options.ts";
import { MountedVolume } from "./mounted_volume.ts";
import { systemTime } from "./orders.ts";

/** A disk that has lost its connection for a moment is no damage; one that has lost a sector is, and nobody waits for long. */
const usualReadAgainMs = [1000, 2000, 4000];

/**
 * Opens the volume; one that is damaged is opened for reading only, as far as it can be read.
 * @param saved the map that its mount began with, when that is needed; or why and how to open it for reading only
 * @throws WorkerFailed
 */
export async function openVolume(
  options: Omit<MountOptions, "rescue">,
  saved: Rescue | (() => Promise<SavedBase>),
): Promise<MountedVolume> {
  if (typeof saved !== "function") return await openDamaged(options, saved);
  const { signal = new AbortController().signal } = options;
  const pauses = [...options.readAgainMs ?? usualReadAgainMs];
  for (;;) {
    try {
      return await served(options);
    } catch (error) {
      if (!(error instanceof WorkerFailed && error.damaged)) throw error;
      if (signal.aborted) throw error;
      const pause_ms = error.mayPass ? pauses.shift() : undefined;
      if (pause_ms === undefined) return await openDamaged(options, await rescueOf(error, saved));
      const { volumeId: volume_id, log } = options;
      log.warn("log_unreadable", { volume_id, error: reasonOf(error), read_again_ms: pause_ms });
      await systemTime.pause(pause_ms, signal);
      if (signal.aborted) throw error;
    }
  }
}

/** The first line of what the worker said, without the name of the error. */
const reasonOf = ({ message }: WorkerFailed) =>
  (message.split("\n")[0] ?? "").replace(/^\w+Data: /, "");

async function rescueOf(error: WorkerFailed, saved: () => Promise<SavedBase>): Promise<Rescue> {
  return {
    reason: reasonOf(error),
    base: await saved(),
    ...(error.mayPass ? { mayPass: true } : {}),
  };
}

async function openDamaged(options: MountOptions, rescue: Rescue): Promise<MountedVolume> {
  return await served({ ...options, rescue });
}

/** The volume, once it is served. What one that fails had begun with its files is over before anybody hears of that. */
async function served(options: MountOptions): Promise<MountedVolume> {
  const volume = new MountedVolume(options);
  try {
    await volume.ready;
    return volume;
  } catch (error) {
    await volume.ended;
    throw error;
  }
}
