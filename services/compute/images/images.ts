/**
 * DescribeImages, RegisterImage, DeregisterImage.
 *
 * A name is unique in its account: a new image is written as `pending`, and becomes available only
 * when no older record has its name. Of two at once the one that was written first wins.
 */
import { AwsError } from "../../aws/errors.ts";
import type { ActionTable } from "../../resources/actions.ts";
import {
  invalidParameter,
  invalidValue,
  missingParameter,
  unsupported,
} from "../../resources/errors.ts";
import { newId, notFound } from "../../resources/ids.ts";
import { tagsFromSpecifications } from "../../resources/tags.ts";
import type { Input } from "../../resources/wire.ts";
import type { ImageBlockDevice, ImageRecord } from "../contract.ts";
import { ownImage, refuseProtected } from "./image_states.ts";
import { imageType, showImage } from "./image_type.ts";
import type { SnapshotKeeper } from "../snapshots/snapshots.ts";
import type { ComputeState } from "../state.ts";
import { snapshotType } from "../volumes/volume_type.ts";
import { performanceOf, typeNamed } from "../volumes/volume_performance.ts";

/** @throws AwsError `InvalidAMIName.Malformed` */
export function checkImageName(name: string): void {
  if (!/^[A-Za-z0-9()[\] ./\-'@_]{3,128}$/.test(name)) {
    throw new AwsError(
      "InvalidAMIName.Malformed",
      "AMI names must be between 3 and 128 characters long, and may contain letters, numbers, and ( ) [ ] . / - ' @ _ and blanks.",
    );
  }
}

/** @throws AwsError `InvalidAMIName.Duplicate` when another image that counts has the name */
export function checkNameIsFree(
  { images }: ComputeState,
  account: string,
  name: string,
  mine?: { readonly image_id: string; readonly revision: number },
): void {
  for (const other of images.all(account)) {
    if (other.name !== name || other.image_id === mine?.image_id || other.state === "failed") {
      continue;
    }
    const revision = images.table.get(images.keyOf(account, other.image_id))?.revision ?? 0;
    const isThere = other.state === "available" || other.state === "disabled";
    if (mine === undefined || isThere || revision < mine.revision) {
      throw new AwsError(
        "InvalidAMIName.Duplicate",
        `AMI name ${name} is already in use by AMI ${other.image_id}`,
      );
    }
  }
}

/** Writes a new image, and makes it available unless it awaits its snapshots. @throws AwsError and leaves nothing */
export async function addImage(state: ComputeState, image: ImageRecord): Promise<ImageRecord> {
  const { images } = state;
  const { account_id, image_id, name } = image;
  const present = images.get(account_id, image_id);
  if (present?.state === "available") return present;
  const { awaits_snapshots, ...rest } = image;
  await images.ensure({ ...rest, state: "pending" });
  const row = images.table.get(images.keyOf(account_id, image_id));
  try {
    checkNameIsFree(state, account_id, name, { image_id, revision: row?.revision ?? 0 });
  } catch (error) {
    await images.delete(account_id, image_id);
    throw error;
  }
  return await images.modify(
    account_id,
    image_id,
    (now) =>
      awaits_snapshots === true ? { ...now, awaits_snapshots } : { ...now, state: "available" },
  );
}

type Mapping = NonNullable<Input<"RegisterImage">["BlockDeviceMappings"]>[number];

async function blockDevice(
  { snapshots }: ComputeState,
  account: string,
  mapping: Mapping,
): Promise<ImageBlockDevice> {
  const { DeviceName: device, Ebs: ebs } = mapping;
  if (device === undefined || device === "") {
    throw missingParameter("BlockDeviceMapping.DeviceName");
  }
  if (ebs === undefined) {
    throw new AwsError(
      "InvalidBlockDeviceMapping",
      `The device '${device}' needs an Ebs block; there are no instance stores.`,
    );
  }
  if (ebs.SnapshotId !== undefined && (ebs.Encrypted !== undefined || ebs.KmsKeyId !== undefined)) {
    throw new AwsError(
      "InvalidBlockDeviceMapping",
      `the encrypted flag cannot be specified since device ${device} has a snapshot specified.`,
    );
  }
  const snapshot = ebs.SnapshotId === undefined
    ? undefined
    : await snapshots.require(account, ebs.SnapshotId);
  const size_gib = ebs.VolumeSize ?? snapshot?.size_gib;
  if (size_gib === undefined) {
    throw missingParameter("BlockDeviceMapping.Ebs.VolumeSize");
  }
  if (snapshot !== undefined && size_gib < snapshot.size_gib) {
    throw new AwsError(
      "InvalidBlockDeviceMapping",
      `Volume of size ${size_gib}GB is smaller than snapshot '${snapshot.snapshot_id}', expect size>= ${snapshot.size_gib}GB`,
    );
  }
  const volume_type = typeNamed(ebs.VolumeType);
  performanceOf({ volume_type, size_gib, iops: ebs.Iops, throughput: ebs.Throughput });
  return {
    device,
    ...(ebs.Encrypted === true || snapshot?.encrypted === true ? { encrypted: true } : {}),
    size_gib,
    volume_type,
    ...(ebs.Iops === undefined ? {} : { iops: ebs.Iops }),
    ...(ebs.Throughput === undefined ? {} : { throughput: ebs.Throughput }),
    delete_on_termination: ebs.DeleteOnTermination ?? true,
    ...(snapshot === undefined ? {} : { snapshot_id: snapshot.snapshot_id }),
  };
}

function checkRegister(input: Input<"RegisterImage">): void {
  if (input.ImageLocation !== undefined) {
    throw unsupported(
      "Images are registered from snapshots. For a file, use `hive image import FILE`.",
    );
  }
  if (input.Name === undefined) throw missingParameter("Name");
  checkImageName(input.Name);
  const architecture = input.Architecture ?? "x86_64";
  if (architecture !== "x86_64" && architecture !== "arm64") {
    throw invalidParameter("architecture", architecture, "Expected: x86_64 or arm64.");
  }
  if ((input.VirtualizationType ?? "hvm") !== "hvm") {
    throw invalidParameter("virtualizationType", input.VirtualizationType, "Expected: hvm.");
  }
  const boot = input.BootMode ?? "uefi";
  if (boot !== "uefi" && boot !== "uefi-preferred") {
    throw unsupported(`Guests boot with UEFI; the boot mode '${boot}' is not offered.`);
  }
  for (
    const name of ["KernelId", "RamdiskId", "BillingProducts", "UefiData"] as const
  ) {
    if (input[name] !== undefined) throw unsupported(`${name} is not offered. Leave it out.`);
  }
  if (input.TpmSupport !== undefined && input.TpmSupport !== "v2.0") {
    throw invalidParameter("tpmSupport", input.TpmSupport, "Expected: v2.0.");
  }
  if ((input.Description ?? "").length > 255) {
    throw invalidValue("Description is longer than 255 characters");
  }
  const mappings = input.BlockDeviceMappings ?? [];
  if (mappings.length === 0) throw missingParameter("BlockDeviceMapping");
  const names = mappings.map((mapping) => mapping.DeviceName);
  if (new Set(names).size !== names.length) {
    throw new AwsError("InvalidBlockDeviceMapping", "A device name is mapped more than once.");
  }
  const root = mappings.find((mapping) =>
    mapping.DeviceName === (input.RootDeviceName ?? names[0])
  );
  if (root?.Ebs?.SnapshotId === undefined) {
    throw new AwsError(
      "InvalidBlockDeviceMapping",
      "The root device needs a mapping with an Ebs.SnapshotId.",
    );
  }
  tagsFromSpecifications(input.TagSpecifications, ["image", "snapshot"]);
}

function ownersTest(
  owners: readonly string[] | undefined,
  account: string,
): (image: ImageRecord) => boolean {
  if (owners === undefined || owners.length === 0) return () => true;
  const wanted = new Set<string>();
  for (const owner of owners) {
    if (owner === "self") wanted.add(account);
    else if (/^\d{12}$/.test(owner)) wanted.add(owner);
    else if (!["amazon", "aws-marketplace", "aws-backup-vault"].includes(owner)) {
      throw new AwsError("InvalidUserID.Malformed", `Invalid user id: "${owner}"`);
    }
  }
  return (image) => wanted.has(image.account_id);
}

function usersTest(users: readonly string[] | undefined): (image: ImageRecord) => boolean {
  if (users === undefined || users.length === 0) return () => true;
  for (const user of users) {
    if (user !== "self" && user !== "all" && !/^\d{12}$/.test(user)) {
      throw new AwsError("InvalidUserID.Malformed", `Invalid user id: "${user}"`);
    }
  }
  // Launch permissions are for everybody or nobody: none is ever given to one account by name.
  return (image) => users.includes("all") && image.public;
}

/** What is left out unless it is asked for: disabled images, and other accounts' deprecated ones. */
function kindsTest(
  input: Input<"DescribeImages">,
  account: string,
): (image: ImageRecord) => boolean {
  const now = new Date().toISOString();
  return (image) =>
    (image.state !== "disabled" || input.IncludeDisabled === true) &&
    (image.account_id === account || input.IncludeDeprecated === true ||
      image.deprecation_time === undefined || image.deprecation_time > now);
}

export function imageActions(state: ComputeState, snapshotKeeper: SnapshotKeeper) {
  const { images } = state;
  return {
    DescribeImages: {
      run: async (input, call) => {
        const owned = ownersTest(input.Owners, call.account_id);
        const executable = usersTest(input.ExecutableUsers);
        const ofKind = kindsTest(input, call.account_id);
        const page = await images.describe({
          action: "DescribeImages",
          ids: input.ImageIds,
          filters: input.Filters,
          page: input,
          parameters: [
            input.Owners ?? [],
            input.ExecutableUsers ?? [],
            input.IncludeDeprecated === true,
            input.IncludeDisabled === true,
          ],
          where: (image) => owned(image) && executable(image) && ofKind(image),
        }, call);
        return { Images: page.records.map(showImage), NextToken: page.nextToken };
      },
    },

    RegisterImage: {
      resources: (_input, call) => [images.arnOf(call, "*")],
      check: (input) => checkRegister(input),
      run: async (input, call) => {
        const account = call.account_id;
        checkNameIsFree(state, account, input.Name);
        const devices: ImageBlockDevice[] = [];
        for (const mapping of input.BlockDeviceMappings ?? []) {
          devices.push(await blockDevice(state, account, mapping));
        }
        const rootName = input.RootDeviceName ?? devices[0]?.device ?? "";
        const image = await addImage(state, {
          image_id: newId(imageType.idPrefix),
          account_id: account,
          name: input.Name,
          ...(input.Description === undefined ? {} : { description: input.Description }),
          architecture: input.Architecture === "arm64" ? "arm64" : "x86_64",
          state: "pending",
          boot_mode: "uefi",
          ...(input.TpmSupport === undefined ? {} : { tpm: "v2.0" }),
          root_device_name: rootName,
          block_devices: devices.sort((a, b) =>
            Number(b.device === rootName) - Number(a.device === rootName)
          ),
          public: false,
          creation_date: new Date().toISOString(),
          tags: tagsFromSpecifications(input.TagSpecifications, ["image", "snapshot"])["image"] ??
            {},
        });
        for (const { snapshot_id: id } of devices) {
          if (id === undefined || state.snapshots.get(account, id) !== undefined) continue;
          // Its deletion was asked for while the image was being written.
          await images.delete(account, image.image_id);
          throw notFound([id], snapshotType.errors);
        }
        return { ImageId: image.image_id };
      },
    },

    DeregisterImage: {
      resources: (input, call) => [images.arnOf(call, input.ImageId)],
      check: async (input, call) => {
        refuseProtected(await ownImage(images, call.account_id, input.ImageId));
      },
      run: async (input, call) => {
        const account = call.account_id;
        const image = await images.require(account, input.ImageId);
        refuseProtected(image);
        await images.delete(account, input.ImageId);
        const results = [];
        for (const { snapshot_id: id } of image.block_devices) {
          const snapshot = id === undefined ? undefined : state.snapshots.get(account, id);
          if (id === undefined || snapshot === undefined) continue;
          if (input.DeleteAssociatedSnapshots !== true && snapshot.goes_with_images !== true) {
            continue;
          }
          const removed = await snapshotKeeper.remove(account, id);
          results.push({ SnapshotId: id, ReturnCode: removed ? "success" : "skipped" } as const);
        }
        return {
          Return: true,
          ...(input.DeleteAssociatedSnapshots === true ? { DeleteSnapshotResults: results } : {}),
        };
      },
    },
  } satisfies ActionTable;
}
