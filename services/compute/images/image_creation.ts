/**
 * CreateImage: snapshots of all volumes of an instance, and an image that stands on them. The image is
 * `pending` until every snapshot is stored.
 *
 * As in EC2 a guest that runs is rebooted, unless `NoReboot` is said: its snapshots are taken while it is down, after it
 * has shut its file systems down by itself. Image and snapshots are on record before it is told to, and whoever finds
 * them there takes them. With `NoReboot` the guest runs on. Where it has an agent its file systems stand still for the moment of the
 * snapshots; otherwise the image holds what a power cut at that moment would have left.
 */
import type { ActionTable } from "../../resources/actions.ts";
import { incorrectState, missingParameter } from "../../resources/errors.ts";
import { newId } from "../../resources/ids.ts";
import type { Resources } from "../../resources/resource.ts";
import { tagsFromSpecifications } from "../../resources/tags.ts";
import type { ImageBlockDevice, InstanceRecord } from "../contract.ts";
import { imageType } from "./image_type.ts";
import { makeImage } from "./image_making.ts";
import { rootFirst } from "./image_registration.ts";
import { checkDescription } from "../description.ts";
import { checkImageName, checkNameIsFree } from "./image_names.ts";
import { instanceDevices } from "./instance_devices.ts";
import { freezeVolumes } from "../snapshots/snapshot_actions.ts";
import type { SnapshotKeeper } from "../snapshots/snapshots.ts";
import type { ComputeState } from "../state.ts";

export function imageCreationActions(
  state: ComputeState,
  instances: Resources<InstanceRecord>,
  keeper: SnapshotKeeper,
) {
  const { images } = state;
  const reboot = async ({ account_id, instance_id }: InstanceRecord) => {
    const told = await instances.modify(
      account_id,
      instance_id,
      (now) =>
        now.state === "running" && now.wanted === "running" ? { ...now, rebooting: true } : now,
    );
    // It went down meanwhile, or is about to: its volumes are as they are.
    if (told.rebooting !== true) await keeper.freezeDown(told);
  };
  return {
    CreateImage: {
      resources: (input, call) => [
        images.arnOf(call, "*"),
        state.snapshots.arnOf(call, "*"),
        instances.arnOf(call, input.InstanceId),
      ],
      check: async (input, call) => {
        if (input.Name === undefined || input.Name === "") throw missingParameter("name");
        checkImageName(input.Name);
        checkDescription(input.Description);
        tagsFromSpecifications(input.TagSpecifications, ["image", "snapshot"]);
        const instance = await instances.require(call.account_id, input.InstanceId);
        if (instance.state !== "running" && instance.state !== "stopped") {
          throw incorrectState(
            `Instance '${instance.instance_id}' is '${instance.state}' and not 'running' or 'stopped'.`,
          );
        }
        checkNameIsFree(state, call.account_id, input.Name);
        await instanceDevices(state, instance, input.BlockDeviceMappings);
      },
      run: async (input, call) => {
        const account = call.account_id;
        const instance = await instances.require(account, input.InstanceId);
        checkNameIsFree(state, account, input.Name);
        const tags = tagsFromSpecifications(input.TagSpecifications, ["image", "snapshot"]);
        const image_id = newId(imageType.idPrefix);
        const { frozen, added } = await instanceDevices(
          state,
          instance,
          input.BlockDeviceMappings,
        );
        const reboots = instance.state === "running" && input.NoReboot !== true;
        const description = `Created by CreateImage(${instance.instance_id}) for ${image_id}`;
        const wanted = frozen.map(({ volume, shape }) => ({
          volume,
          shape,
          rest: {
            snapshot_id: newId("snap-"),
            ...(reboots ? { awaits_reboot_of: instance.instance_id } : {}),
            description,
            tags: tags["snapshot"] ?? {},
          },
        }));
        const devices = wanted.map(({ shape, rest }): ImageBlockDevice => ({
          ...shape,
          snapshot_id: rest.snapshot_id,
        }));
        const root = instance.root_device_name;
        const image = {
          image_id,
          account_id: account,
          name: input.Name,
          ...(input.Description === undefined ? {} : { description: input.Description }),
          architecture: instance.architecture,
          boot_mode: "uefi" as const,
          ...(instance.tpm === undefined ? {} : { tpm: instance.tpm }),
          root_device_name: root,
          block_devices: rootFirst(root, [...devices, ...added]),
          source_instance_id: instance.instance_id,
          source: { image_id: instance.image_id, region: call.region },
          public: false,
          creation_date: new Date().toISOString(),
          tags: tags["image"] ?? {},
        };
        const made = wanted.map(({ rest }) => rest.snapshot_id);
        await makeImage(keeper, image, made, async () => {
          await freezeVolumes(keeper, wanted);
        });
        if (reboots) await reboot(instance);
        return { ImageId: image_id };
      },
    },
  } satisfies ActionTable;
}
