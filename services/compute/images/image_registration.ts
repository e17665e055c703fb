/**
 * RegisterImage: an image that stands on snapshots which are there. What is said of it besides (boot mode, drivers,
 * metadata) is kept as it was said, and shown so.
 */
import { AwsError } from "../../aws/errors.ts";
import type { ActionTable } from "../../resources/actions.ts";
import { invalidParameter, missingParameter, unsupported } from "../../resources/errors.ts";
import { newId, notFound } from "../../resources/ids.ts";
import { tagsFromSpecifications } from "../../resources/tags.ts";
import type { Input } from "../../resources/wire.ts";
import type { ImageBlockDevice, ImageRecord } from "../contract.ts";
import type { SnapshotKeeper } from "../snapshots/snapshots.ts";
import type { ComputeState } from "../state.ts";
import { performanceOf, refuseHardDiskRoot, typeNamed } from "../volumes/volume_performance.ts";
import { snapshotType } from "../volumes/volume_type.ts";
import { makeImage } from "./image_making.ts";
import { checkDescription } from "../description.ts";
import { checkImageName, checkNameIsFree } from "./image_names.ts";
import { imageType } from "./image_type.ts";

export type Mapping = NonNullable<Input<"RegisterImage">["BlockDeviceMappings"]>[number];
type RegisterInput = Input<"RegisterImage">;

/** Some clients send a member that they leave out as an empty one. */
const given = <T extends string>(text: T | undefined): T | undefined =>
  text === "" ? undefined : text;

/** A device of an image as a request maps it. @throws AwsError */
export async function blockDevice(
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
  const snapshotId = given(ebs.SnapshotId);
  if (snapshotId !== undefined && (ebs.Encrypted !== undefined || ebs.KmsKeyId !== undefined)) {
    throw new AwsError(
      "InvalidBlockDeviceMapping",
      `the encrypted flag cannot be specified since device ${device} has a snapshot specified.`,
    );
  }
  const snapshot = snapshotId === undefined
    ? undefined
    : await snapshots.require(account, snapshotId);
  const size_gib = ebs.VolumeSize ?? snapshot?.size_gib;
  if (size_gib === undefined) throw missingParameter("BlockDeviceMapping.Ebs.VolumeSize");
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

/** The root device first. */
export const rootFirst = (root: string, devices: readonly ImageBlockDevice[]) =>
  [...devices].sort((a, b) => Number(b.device === root) - Number(a.device === root));

function checkMachine(input: RegisterInput): void {
  const architecture = input.Architecture ?? "x86_64";
  if (architecture !== "x86_64" && architecture !== "arm64") {
    throw invalidParameter("architecture", architecture, "Expected: x86_64 or arm64.");
  }
  if ((given(input.VirtualizationType) ?? "hvm") !== "hvm") {
    throw invalidParameter("virtualizationType", input.VirtualizationType, "Expected: hvm.");
  }
  const boot = input.BootMode ?? "uefi";
  if (boot !== "uefi" && boot !== "uefi-preferred") {
    throw unsupported(`Guests boot with UEFI; the boot mode '${boot}' is not offered.`);
  }
  for (const name of ["KernelId", "RamdiskId", "UefiData"] as const) {
    if (given(input[name]) !== undefined) {
      throw unsupported(`${name} is not offered. Leave it out.`);
    }
  }
  if ((input.BillingProducts ?? []).length > 0) {
    throw unsupported("BillingProducts is not offered. Leave it out.");
  }
  if (input.TpmSupport !== undefined && input.TpmSupport !== "v2.0") {
    throw invalidParameter("tpmSupport", input.TpmSupport, "Expected: v2.0.");
  }
  if (input.ImdsSupport !== undefined && input.ImdsSupport !== "v2.0") {
    throw invalidParameter("imdsSupport", input.ImdsSupport, "Expected: v2.0.");
  }
  const sriov = given(input.SriovNetSupport);
  if (sriov !== undefined && sriov !== "simple") {
    throw invalidParameter("sriovNetSupport", sriov, "Expected: simple.");
  }
}

function checkRegister(input: RegisterInput): void {
  if (given(input.ImageLocation) !== undefined) {
    throw unsupported(
      "Images are registered from snapshots. For a file, use `hive image import FILE`.",
    );
  }
  if (input.Name === undefined) throw missingParameter("Name");
  checkImageName(input.Name);
  checkMachine(input);
  checkDescription(input.Description);
  const mappings = input.BlockDeviceMappings ?? [];
  if (mappings.length === 0) throw missingParameter("BlockDeviceMapping");
  const names = mappings.map((mapping) => mapping.DeviceName);
  if (new Set(names).size !== names.length) {
    throw new AwsError("InvalidBlockDeviceMapping", "A device name is mapped more than once.");
  }
  const rootName = given(input.RootDeviceName) ?? names[0];
  const root = mappings.find((mapping) => mapping.DeviceName === rootName);
  if (given(root?.Ebs?.SnapshotId) === undefined) {
    throw new AwsError(
      "InvalidBlockDeviceMapping",
      "The root device needs a mapping with an Ebs.SnapshotId.",
    );
  }
  refuseHardDiskRoot(typeNamed(root?.Ebs?.VolumeType), "InvalidBlockDeviceMapping");
  tagsFromSpecifications(input.TagSpecifications, ["image", "snapshot"]);
}

/** What is said of the image that nothing but its instances and its owner ask for. */
function traitsOf(input: RegisterInput): Partial<ImageRecord> {
  const description = given(input.Description);
  return {
    ...(description === undefined ? {} : { description }),
    ...(input.BootMode === "uefi" || input.BootMode === "uefi-preferred"
      ? { boot_mode: input.BootMode }
      : {}),
    ...(input.EnaSupport === true ? { ena: true } : {}),
    ...(given(input.SriovNetSupport) === undefined ? {} : { sriov: "simple" }),
    ...(input.ImdsSupport === undefined ? {} : { imds: "v2.0" }),
    ...(input.TpmSupport === undefined ? {} : { tpm: "v2.0" }),
  };
}

export function imageRegistrationActions(state: ComputeState, keeper: SnapshotKeeper) {
  const { images } = state;
  return {
    RegisterImage: {
      resources: (input, call) => [
        images.arnOf(call, "*"),
        ...(input.BlockDeviceMappings ?? []).flatMap(({ Ebs: ebs }) => given(ebs?.SnapshotId) ?? [])
          .map((id) => state.snapshots.arnOf(call, id)),
      ],
      check: (input) => checkRegister(input),
      run: async (input, call) => {
        const account = call.account_id;
        checkNameIsFree(state, account, input.Name);
        const devices: ImageBlockDevice[] = [];
        for (const mapping of input.BlockDeviceMappings ?? []) {
          devices.push(await blockDevice(state, account, mapping));
        }
        const root_device_name = given(input.RootDeviceName) ?? devices[0]?.device ?? "";
        const image_id = newId(imageType.idPrefix);
        const image: Parameters<typeof makeImage>[1] = {
          image_id,
          account_id: account,
          name: input.Name,
          ...traitsOf(input),
          architecture: input.Architecture === "arm64" ? "arm64" : "x86_64",
          root_device_name,
          block_devices: rootFirst(root_device_name, devices),
          public: false,
          creation_date: new Date().toISOString(),
          tags: tagsFromSpecifications(input.TagSpecifications, ["image", "snapshot"])["image"] ??
            {},
        };
        await makeImage(keeper, image, [], async () => {});
        for (const { snapshot_id: id } of devices) {
          if (id === undefined || await state.snapshots.find(account, id) !== undefined) continue;
          // Its deletion was asked for while the image was being written.
          await images.delete(account, image_id);
          throw notFound([id], snapshotType.errors);
        }
        return { ImageId: image_id };
      },
    },
  } satisfies ActionTable;
}
