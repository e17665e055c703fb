/** What an export does: an image's disk becomes a file, and the file an object of the caller's bucket. */
import { AwsError } from "../../aws/errors.ts";
import { idOf } from "../../resources/ids.ts";
import type { KindRecord } from "../../resources/kind.ts";
import {
  createVolume,
  deleteVolume,
  mountVolume,
  unmountVolume,
} from "../../viperblock/contract.ts";
import { copyIntoFile } from "./image_files.ts";
import type { ObjectPlace } from "./delegated_objects.ts";
import type { Transfer } from "./transfer.ts";
import type { ExportImageShape } from "./transfer_tasks.ts";
import { gib, unlessMissing } from "../volumes/volume_lifecycle.ts";

export const exportFormats = { VMDK: "vmdk", RAW: "raw", VHD: "vhd" } as const;

/** The object that an export makes; named after the task, it is nobody else's. */
const objectOf = (
  task: string,
  { DiskImageFormat, S3ExportLocation: { S3Bucket, S3Prefix } }: ExportImageShape,
): ObjectPlace => ({
  bucket: S3Bucket,
  key: `${S3Prefix}${task}.${exportFormats[DiskImageFormat]}`,
});

/** The volume that is read. */
const cloneOf = (task: string) => idOf("vol-", task);

async function forgetClone({ bus }: Transfer, volume_id: string): Promise<void> {
  await unlessMissing(bus.ask(unmountVolume, { volume_id }));
  await unlessMissing(bus.ask(deleteVolume, { volume_id }));
}

export async function exportImage(
  transfer: Transfer,
  { shape }: KindRecord<ExportImageShape>,
): Promise<Partial<ExportImageShape>> {
  const { account_id, bus, objects, signal, state, task_id } = transfer;
  const image = await state.images.require(account_id, shape.ImageId);
  const [root] = image.block_devices;
  if (root?.snapshot_id === undefined) {
    throw new AwsError("InvalidParameter", "The image has no root device.");
  }
  const volume_id = await cloneOf(task_id);
  const path = transfer.file("out");
  const format = exportFormats[shape.DiskImageFormat];
  try {
    // A clone of the frozen disk, so that nothing keeps the image from being deregistered.
    await bus.ask(createVolume, {
      volume_id,
      size_bytes: root.size_gib * gib,
      snapshot_id: root.snapshot_id,
    });
    const { socket } = await bus.ask(mountVolume, { volume_id });
    await copyIntoFile(
      { socket, volume_id },
      path,
      format,
      (percent) => transfer.note("converting", Math.floor(percent * 0.6)),
      signal,
    );
  } finally {
    await forgetClone(transfer, volume_id);
  }
  const { size } = await Deno.stat(path);
  await objects.upload(
    shape.Caller,
    objectOf(task_id, shape),
    path,
    (bytes) => transfer.note("uploading", 60 + Math.floor(40 * bytes / Math.max(1, size))),
    signal,
  );
  return {};
}

/** @throws AwsError in S3's codes: its caller may have lost the right to remove the object */
export async function takeBackExport(
  transfer: Transfer,
  { shape }: KindRecord<ExportImageShape>,
  signal: AbortSignal,
): Promise<void> {
  const { objects, task_id } = transfer;
  // Of a process that died with it mounted.
  await forgetClone(transfer, await cloneOf(task_id));
  await objects.remove(shape.Caller, objectOf(task_id, shape), signal);
}
