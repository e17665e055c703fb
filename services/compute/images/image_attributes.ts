/**
 * What an owner changes of an image after it was made, and with whom it is shared: DescribeImageAttribute,
 * ModifyImageAttribute and ResetImageAttribute.
 *
 * A launch permission is part of the image's record and goes with it. Encrypted images stay with their account, as
 * their snapshots do. An account's block of public images holds for those that it owns.
 */
import { AwsError } from "../../aws/errors.ts";
import type { ActionTable } from "../../resources/actions.ts";
import {
  invalidParameter,
  invalidValue,
  missingParameter,
  unsupported,
} from "../../resources/errors.ts";
import type { Input } from "../../resources/wire.ts";
import type { ImageRecord } from "../contract.ts";
import { settingsOf } from "../record_families/account_settings.ts";
import { invalidItem } from "../snapshots/snapshot_permissions.ts";
import type { ComputeState } from "../state.ts";
import { checkDescription } from "../description.ts";
import { ownImage } from "./image_states.ts";
import { showDevices, showProtection } from "./image_type.ts";

type ModifyInput = Input<"ModifyImageAttribute">;

/** Accounts that one image may be shared with. */
const mostAccounts = 1000;

const show: Readonly<Record<string, (image: ImageRecord) => Record<string, unknown>>> = {
  blockDeviceMapping: (image) => ({ BlockDeviceMappings: showDevices(image) }),
  bootMode: ({ boot_mode }) => ({ BootMode: { Value: boot_mode } }),
  deregistrationProtection: (image) => ({
    DeregistrationProtection: { Value: showProtection(image.deregistration_protection) },
  }),
  description: ({ description }) => ({ Description: { Value: description ?? "" } }),
  imdsSupport: ({ imds }) => ({ ImdsSupport: { Value: imds } }),
  kernel: () => ({ KernelId: {} }),
  lastLaunchedTime: () => ({ LastLaunchedTime: {} }),
  launchPermission: (image) => ({
    LaunchPermissions: [
      ...(image.public ? [{ Group: "all" }] : []),
      ...(image.shared_with ?? []).map((UserId) => ({ UserId })),
    ],
  }),
  productCodes: () => ({ ProductCodes: [] }),
  ramdisk: () => ({ RamdiskId: {} }),
  sriovNetSupport: ({ sriov }) => ({ SriovNetSupport: { Value: sriov } }),
  tpmSupport: ({ tpm }) => ({ TpmSupport: { Value: tpm } }),
  uefiData: () => ({ UefiData: {} }),
};

interface Change {
  readonly description?: string;
  readonly imds?: "v2.0";
  readonly add: readonly string[];
  readonly remove: readonly string[];
}

/** Accounts and the group `all`. @throws AwsError */
function names(
  list: readonly {
    UserId?: string | undefined;
    Group?: string | undefined;
    OrganizationArn?: string | undefined;
    OrganizationalUnitArn?: string | undefined;
  }[],
): string[] {
  return list.flatMap(({ UserId, Group, OrganizationArn, OrganizationalUnitArn }) => {
    if (OrganizationArn !== undefined || OrganizationalUnitArn !== undefined) {
      throw unsupported("There are no Organizations here.");
    }
    if (UserId !== undefined && !/^\d{12}$/.test(UserId)) throw invalidItem(UserId, "userId");
    if (Group !== undefined && Group !== "all") throw invalidItem(Group, "userGroup");
    return [UserId, Group].filter((name) => name !== undefined);
  });
}

/** In either of the two ways of asking. @throws AwsError */
function changeOf(input: ModifyInput): Change {
  const { Attribute, OperationType, LaunchPermission, Value } = input;
  if ((input.ProductCodes ?? []).length > 0) throw unsupported("There is no marketplace here.");
  const [add, remove] = [
    names(LaunchPermission?.Add ?? []),
    names(LaunchPermission?.Remove ?? []),
  ];
  const named = names([
    ...(input.UserIds ?? []).map((UserId) => ({ UserId })),
    ...(input.UserGroups ?? []).map((Group) => ({ Group })),
    ...(input.OrganizationArns ?? []).map((OrganizationArn) => ({ OrganizationArn })),
    ...(input.OrganizationalUnitArns ?? []).map((OrganizationArn) => ({ OrganizationArn })),
  ]);
  // Some clients name the same accounts in both ways, and say what is to be done with them in one.
  if (named.length > 0 && (LaunchPermission === undefined || OperationType !== undefined)) {
    if (OperationType !== "add" && OperationType !== "remove") {
      throw invalidParameter("operationType", OperationType ?? "", "Expected: add or remove.");
    }
    (OperationType === "add" ? add : remove).push(...named);
  }
  const description = input.Description?.Value ??
    (Attribute === "description" ? Value : undefined);
  const imds = input.ImdsSupport?.Value ?? (Attribute === "imdsSupport" ? Value : undefined);
  if (imds !== undefined && imds !== "v2.0") {
    throw invalidParameter("imdsSupport", imds, "Expected: v2.0.");
  }
  checkDescription(description);
  if (description === undefined && imds === undefined && add.length + remove.length === 0) {
    if (Value === undefined) throw missingParameter("attribute");
    throw invalidParameter("attribute", Attribute ?? "", "Expected: description or imdsSupport.");
  }
  return {
    add,
    remove,
    ...(description === undefined ? {} : { description }),
    ...(imds === undefined ? {} : { imds }),
  };
}

/** @throws AwsError when its owner may not give it to these */
function checkSharing({ records }: ComputeState, image: ImageRecord, { add }: Change): void {
  if (add.length === 0) return;
  if (image.block_devices.some(({ encrypted }) => encrypted === true)) {
    throw new AwsError(
      "OperationNotPermitted",
      "Images with encrypted snapshots by the EBS default key cannot be shared",
    );
  }
  const block = settingsOf(records, image.account_id)["image_block"] ?? "block-new-sharing";
  if (add.includes("all") && block !== "unblocked" && !image.public) {
    throw new AwsError(
      "OperationNotPermitted",
      "You can't publicly share this image because block public access for AMIs is enabled for your account.",
    );
  }
}

function changed(image: ImageRecord, change: Change): ImageRecord {
  const { shared_with, description, ...rest } = image;
  const accounts = new Set(shared_with);
  for (const name of change.add) accounts.add(name);
  if (image.public) accounts.add("all");
  for (const name of change.remove) accounts.delete(name);
  const isPublic = accounts.delete("all");
  if (accounts.size > mostAccounts) {
    throw invalidValue(`An image may be shared with ${mostAccounts} accounts at most`);
  }
  const words = change.description ?? description;
  return {
    ...rest,
    ...(words === undefined || words === "" ? {} : { description: words }),
    ...(change.imds === undefined ? {} : { imds: change.imds }),
    public: isPublic,
    ...(accounts.size === 0 ? {} : { shared_with: [...accounts].sort() }),
  };
}

export function imageAttributeActions(state: ComputeState) {
  const { images } = state;
  return {
    DescribeImageAttribute: {
      resources: (input, call) => [images.arnOf(call, input.ImageId)],
      check: async (input, call) => {
        if (show[input.Attribute] === undefined) {
          throw invalidParameter(
            "attribute",
            input.Attribute,
            `Expected: ${Object.keys(show).join(", ")}.`,
          );
        }
        await ownImage(images, call.account_id, input.ImageId);
      },
      run: async (input, call) => {
        const image = await ownImage(images, call.account_id, input.ImageId);
        return { ImageId: image.image_id, ...show[input.Attribute]?.(image) };
      },
    },

    ModifyImageAttribute: {
      resources: (input, call) => [images.arnOf(call, input.ImageId)],
      check: async (input, call) => {
        const image = await ownImage(images, call.account_id, input.ImageId);
        checkSharing(state, image, changeOf(input));
      },
      run: async (input, call) => {
        const change = changeOf(input);
        await images.modify(call.account_id, input.ImageId, (now) => {
          checkSharing(state, now, change);
          return changed(now, change);
        });
        return {};
      },
    },

    ResetImageAttribute: {
      resources: (input, call) => [images.arnOf(call, input.ImageId)],
      check: async (input, call) => {
        if (input.Attribute !== "launchPermission") {
          throw invalidParameter("attribute", input.Attribute, "Expected: launchPermission.");
        }
        await ownImage(images, call.account_id, input.ImageId);
      },
      run: async (input, call) => {
        await images.modify(
          call.account_id,
          input.ImageId,
          ({ shared_with: _, ...rest }) => ({ ...rest, public: false }),
        );
        return {};
      },
    },
  } satisfies ActionTable;
}
