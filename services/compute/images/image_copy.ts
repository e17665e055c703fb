/**
 * CopyImage: an image of the caller's own that stands on snapshots of its own, whoever the first one
 * belongs to. Copies of snapshots share their chunks, so it takes no time; the copies' ids follow from
 * the image's, so that a call that is repeated makes none a second time.
 */
import { AwsError } from "../../aws/errors.ts";
import type { ActionTable, Call } from "../../resources/actions.ts";
import { invalidParameter, unsupported } from "../../resources/errors.ts";
import { checkId, idOf, newId, notFound } from "../../resources/ids.ts";
import { type Tags, tagsFromSpecifications } from "../../resources/tags.ts";
import type { Input } from "../../resources/wire.ts";
import {
  chooseEncryption,
  encryptionDefaults,
  type EncryptionRequest,
} from "../volumes/encryption_choice.ts";
import type { ImageBlockDevice, ImageRecord } from "../contract.ts";
import { imageType } from "./image_type.ts";
import { makeImage } from "./image_making.ts";
import { checkDescription } from "../description.ts";
import { checkImageName, checkNameIsFree } from "./image_names.ts";
import type { SnapshotKeeper } from "../snapshots/snapshots.ts";
import type { ComputeState } from "../state.ts";

type CopyInput = Input<"CopyImage">;

function checkCopy(input: CopyInput, call: Call): void {
  checkImageName(input.Name);
  checkDescription(input.Description);
  if (input.SourceRegion !== call.region) {
    throw invalidParameter("SourceRegion", input.SourceRegion, `This cloud is ${call.region}.`);
  }
  for (
    const name of [
      "DestinationOutpostArn",
      "DestinationAvailabilityZone",
      "DestinationAvailabilityZoneId",
    ] as const
  ) {
    if (input[name] !== undefined) throw unsupported(`${name} is not offered. Leave it out.`);
  }
  tagsFromSpecifications(input.TagSpecifications, ["image", "snapshot"]);
}

/** The image that is copied. @throws AwsError when the account cannot see it, or it is no whole image */
function sourceOf({ images }: ComputeState, account: string, id: string): ImageRecord {
  checkId(imageType.idPrefix, id, imageType.errors);
  const image = images.visible(account, id);
  if (image === undefined) throw notFound([id], imageType.errors);
  if (image.state !== "available") {
    throw new AwsError("InvalidAMIID.Unavailable", `The image ID '${id}' is ${image.state}`);
  }
  return image;
}

/** Keys that begin with `aws:` stay with their resource, and another account's tags with it. */
function copiedTags(source: ImageRecord, account: string): Tags {
  if (source.account_id !== account) return {};
  return Object.fromEntries(
    Object.entries(source.tags).filter(([key]) => !key.startsWith("aws:")),
  );
}

/** What was said of the machine that it makes. */
function traitsOf({ boot_mode, ena, imds, sriov, tpm }: ImageRecord): Partial<ImageRecord> {
  return {
    ...(boot_mode === undefined ? {} : { boot_mode }),
    ...(ena === undefined ? {} : { ena }),
    ...(imds === undefined ? {} : { imds }),
    ...(sriov === undefined ? {} : { sriov }),
    ...(tpm === undefined ? {} : { tpm }),
  };
}

export function imageCopyActions(state: ComputeState, keeper: SnapshotKeeper) {
  const { images, snapshots, tokens } = state;

  /** A device of the copy, and how its snapshot comes to be. */
  const copyDevice = async (
    source: ImageRecord,
    device: ImageBlockDevice,
    account: string,
    image_id: string,
    tags: Tags,
    asked: EncryptionRequest & { readonly region: string },
  ) => {
    const source_id = device.snapshot_id;
    if (source_id === undefined) return { device };
    const snapshot_id = await idOf("snap-", image_id, device.device);
    const of = snapshots.get(source.account_id, source_id);
    if (asked.Encrypted === false && (of ?? device).encrypted === true) {
      throw new AwsError(
        "InvalidRequest",
        `Snapshot ${source_id} is encrypted. Creating unencrypted copy from an encrypted snapshot is not supported.`,
      );
    }
    const encryption = chooseEncryption(
      asked,
      encryptionDefaults(state.records, asked.region, account),
      of ?? device,
    );
    const copied: ImageBlockDevice = {
      ...device,
      snapshot_id,
      ...(encryption.encrypted === true ? { encrypted: encryption.encrypted } : {}),
    };
    const copySnapshot = () =>
      keeper.beginCopy(source_id, of ?? device, {
        snapshot_id,
        account_id: account,
        ...encryption,
        size_gib: of?.size_gib ?? device.size_gib,
        description:
          `Copied for DestinationAmi ${image_id} from SourceAmi ${source.image_id} for SourceSnapshot ${source_id}.`,
        tags,
      });
    return { device: copied, snapshot_id, copySnapshot };
  };

  const copy = async (input: CopyInput, account: string, image_id: string) => {
    const source = sourceOf(state, account, input.SourceImageId);
    checkNameIsFree(state, account, input.Name);
    const tags = tagsFromSpecifications(input.TagSpecifications, ["image", "snapshot"]);
    const devices = await Promise.all(
      source.block_devices.map((device) =>
        copyDevice(source, device, account, image_id, tags["snapshot"] ?? {}, {
          Encrypted: input.Encrypted,
          KmsKeyId: input.KmsKeyId,
          region: input.SourceRegion ?? "",
        })
      ),
    );
    const image = {
      image_id,
      account_id: account,
      name: input.Name,
      ...(input.Description === undefined ? {} : { description: input.Description }),
      architecture: source.architecture,
      ...traitsOf(source),
      root_device_name: source.root_device_name,
      block_devices: devices.map(({ device }) => device),
      public: false,
      creation_date: new Date().toISOString(),
      source: { image_id: source.image_id, region: input.SourceRegion },
      tags: {
        ...(input.CopyImageTags === true ? copiedTags(source, account) : {}),
        ...tags["image"],
      },
    };
    const made = devices.flatMap(({ snapshot_id }) => snapshot_id ?? []);
    await makeImage(keeper, image, made, async () => {
      for (const { copySnapshot } of devices) await copySnapshot?.();
    });
    return { ImageId: image_id };
  };

  return {
    CopyImage: {
      resources: (input, call) => [
        images.arnOf(call, "*"),
        images.arnOf(call, input.SourceImageId),
      ],
      check: (input, call) => {
        checkCopy(input, call);
        sourceOf(state, call.account_id, input.SourceImageId);
      },
      run: (input, call) =>
        tokens.once(call, {
          action: "CopyImage",
          input,
          choose: () => newId(imageType.idPrefix),
          work: async (image_id) => {
            const there = images.get(call.account_id, image_id);
            if (there !== undefined && there.making === undefined) {
              return { ImageId: image_id };
            }
            return await copy(input, call.account_id, image_id);
          },
          again: (ImageId) => Promise.resolve({ ImageId }),
        }),
    },
  } satisfies ActionTable;
}
