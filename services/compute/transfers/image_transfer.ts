/** What an import does: objects become snapshots, and snapshots an image. Each may be begun anew. */
import { copySnapshot } from "../../viperblock/contract.ts";
import { idOf } from "../../resources/ids.ts";
import type { KindRecord } from "../../resources/kind.ts";
import type { ImageBlockDevice } from "../contract.ts";
import { forgetFrozen, freezeFile, type FrozenIds } from "./frozen_file.ts";
import { inspectImage } from "./image_files.ts";
import { imageType } from "../images/image_type.ts";
import { addImage } from "../images/images.ts";
import type { Transfer } from "./transfer.ts";
import type { ImportDisk, ImportImageShape, ImportSnapshotShape } from "./transfer_tasks.ts";
import { checkCapacity, gib } from "../volumes/volume_lifecycle.ts";

const idsOf = async (task: string, disk: number): Promise<FrozenIds> => ({
  volume_id: await idOf("vol-", task, String(disk)),
  snapshot_id: await idOf("snap-", task, String(disk)),
});

interface Brought {
  readonly snapshot_id: string;
  readonly size_gib: number;
  readonly object_bytes: number;
  readonly encrypted: boolean;
}

/** One disk as a snapshot of the account's own. @throws AwsError when the disk or the bucket is at fault */
async function bringDisk(
  transfer: Transfer,
  caller: ImportSnapshotShape["Caller"],
  disk: ImportDisk,
  index: number,
  rest: { readonly description: string },
): Promise<Brought> {
  const { account_id, bus, objects, signal, state, task_id } = transfer;
  const ids = await idsOf(task_id, index);
  const { snapshot_id } = ids;
  const encryption = disk.encryption ?? {};
  const encrypted = encryption.encrypted === true;
  let size_gib: number;
  let object_bytes = 0;
  if (disk.source.kind === "snapshot") {
    const source = await state.snapshots.require(account_id, disk.source.snapshot_id);
    size_gib = source.size_gib;
    await bus.ask(copySnapshot, {
      source_id: source.snapshot_id,
      snapshot_id,
      ...(encrypted ? { encrypted } : {}),
    });
  } else {
    const { place, format } = disk.source;
    object_bytes = await objects.size(caller, place, signal);
    await checkCapacity(bus, Math.ceil(object_bytes / gib));
    const path = transfer.file(String(index));
    await objects.download(
      caller,
      place,
      path,
      (bytes) => transfer.note("pending", Math.floor(30 * bytes / Math.max(1, object_bytes))),
      signal,
    );
    transfer.note("validating", 30);
    const file = await inspectImage(path, format, signal);
    size_gib = Math.ceil(file.virtual_size_bytes / gib);
    await checkCapacity(bus, size_gib);
    await freezeFile(
      bus,
      file,
      { ...ids, encrypted },
      (percent) => transfer.note("converting", 40 + Math.floor(percent / 2)),
      signal,
    );
  }
  const now = new Date().toISOString();
  await state.snapshots.ensure({
    snapshot_id,
    account_id,
    size_gib,
    description: rest.description,
    state: "completed",
    start_time: now,
    completion_time: now,
    ...encryption,
    tags: {},
  });
  return { snapshot_id, size_gib, object_bytes, encrypted };
}

/** Deletes whatever an import has made so far, which its task has not said to be completed. */
export async function takeBackImport(transfer: Transfer, disks: number): Promise<void> {
  const { account_id, bus, state, task_id } = transfer;
  const image_id = await idOf(imageType.idPrefix, task_id);
  await state.images.delete(account_id, image_id);
  for (let index = 0; index < disks; index++) {
    const ids = await idsOf(task_id, index);
    await forgetFrozen(bus, ids);
    await state.snapshots.delete(account_id, ids.snapshot_id);
  }
}

/** @param object_bytes of each disk; who finds the image made does not look at objects any more */
async function detailsOf(
  task_id: string,
  { SnapshotDetails }: ImportImageShape,
  object_bytes: readonly number[] = [],
): Promise<ImportImageShape["SnapshotDetails"]> {
  return await Promise.all(SnapshotDetails.map(async (detail, index) => ({
    ...detail,
    SnapshotId: (await idsOf(task_id, index)).snapshot_id,
    ...(object_bytes[index] === undefined ? {} : { DiskImageSize: object_bytes[index] }),
    Status: "completed" as const,
  })));
}

/** @returns what becomes part of the task's record */
export async function importImage(
  transfer: Transfer,
  { shape }: KindRecord<ImportImageShape>,
): Promise<Partial<ImportImageShape>> {
  const { account_id, signal, state, task_id } = transfer;
  const image_id = await idOf(imageType.idPrefix, task_id);
  if (state.images.get(account_id, image_id)?.state === "available") {
    return { ImageId: image_id, SnapshotDetails: await detailsOf(task_id, shape) };
  }
  await takeBackImport(transfer, shape.Disks.length);
  const block_devices: ImageBlockDevice[] = [];
  const sizes: number[] = [];
  for (const [index, disk] of shape.Disks.entries()) {
    const { snapshot_id, size_gib, object_bytes, encrypted } = await bringDisk(
      transfer,
      shape.Caller,
      disk,
      index,
      { description: `Created by AWS-VMImport service for ${task_id}` },
    );
    block_devices.push({
      device: disk.device,
      snapshot_id,
      size_gib,
      ...(encrypted ? { encrypted } : {}),
      delete_on_termination: index === 0,
    });
    sizes.push(object_bytes);
  }
  transfer.note("preparing ami", 95);
  signal.throwIfAborted();
  await addImage(state, {
    image_id,
    account_id,
    name: task_id,
    description: shape.Description ?? `AWS-VMImport service: Linux - ${task_id}`,
    architecture: shape.Architecture,
    state: "pending",
    boot_mode: "uefi",
    root_device_name: block_devices[0]?.device ?? "/dev/sda1",
    block_devices,
    public: false,
    creation_date: new Date().toISOString(),
    tags: {},
  });
  return { ImageId: image_id, SnapshotDetails: await detailsOf(task_id, shape, sizes) };
}

/** @returns what becomes part of the task's record */
export async function importSnapshot(
  transfer: Transfer,
  { shape }: KindRecord<ImportSnapshotShape>,
): Promise<Partial<ImportSnapshotShape>> {
  const { account_id, state, task_id } = transfer;
  const { snapshot_id } = await idsOf(task_id, 0);
  // A snapshot that is on record is whole: it was written down last.
  if (state.snapshots.get(account_id, snapshot_id) === undefined) await takeBackImport(transfer, 1);
  const { object_bytes } = await bringDisk(transfer, shape.Caller, shape.Disk, 0, {
    description: shape.Description ?? `Created by AWS-VMImport service for ${task_id}`,
  });
  return {
    SnapshotTaskDetail: {
      ...shape.SnapshotTaskDetail,
      Status: "completed",
      StatusMessage: undefined,
      Progress: undefined,
      SnapshotId: snapshot_id,
      DiskImageSize: object_bytes,
    },
  };
}
