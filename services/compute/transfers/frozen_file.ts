/** A disk image file becomes a snapshot of the block store: onto a new volume, which is frozen and goes. */
import { AwsError } from "../../aws/errors.ts";
import type { Bus } from "../../bus/bus.ts";
import {
  createSnapshot,
  createVolume,
  deleteSnapshot,
  deleteVolume,
  mountVolume,
  unmountVolume,
} from "../../viperblock/contract.ts";
import { copyOntoVolume, type ImageFile } from "./image_files.ts";
import { unlessMissing } from "../volumes/volume_lifecycle.ts";
import { snapshotType } from "../volumes/volume_type.ts";

const blockBytes = 4096;

export interface FrozenIds {
  /** Of the volume in between. */
  readonly volume_id: string;
  readonly snapshot_id: string;
}

export interface Frozen extends FrozenIds {
  readonly encrypted?: boolean;
}

/** @throws AwsError, and leaves what `forgetFrozen` takes back */
export async function freezeFile(
  bus: Bus,
  file: ImageFile,
  { volume_id, snapshot_id, encrypted }: Frozen,
  onProgress: (percent: number) => void,
  signal: AbortSignal,
): Promise<void> {
  await bus.ask(createVolume, {
    volume_id,
    size_bytes: Math.ceil(file.virtual_size_bytes / blockBytes) * blockBytes,
    ...(encrypted === true ? { encrypted } : {}),
  });
  const { socket } = await bus.ask(mountVolume, { volume_id });
  await copyOntoVolume(file, { socket, volume_id }, onProgress, signal);
  await bus.ask(unmountVolume, { volume_id });
  await bus.ask(createSnapshot, { volume_id, snapshot_id });
  await bus.ask(deleteVolume, { volume_id });
}

/** An answer that says the snapshot is not there: what a deletion wanted. */
async function unlessNoSnapshot(work: Promise<unknown>): Promise<void> {
  try {
    await work;
  } catch (error) {
    if (error instanceof AwsError && error.code === snapshotType.errors.notFound) return;
    throw error;
  }
}

/** Deletes whatever of it is there. */
export async function forgetFrozen(bus: Bus, { volume_id, snapshot_id }: FrozenIds): Promise<void> {
  await unlessMissing(bus.ask(unmountVolume, { volume_id }));
  await unlessNoSnapshot(bus.ask(deleteSnapshot, { snapshot_id }));
  await unlessMissing(bus.ask(deleteVolume, { volume_id }));
}
