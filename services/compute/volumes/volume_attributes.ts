/**
 * DescribeVolumeAttribute and ModifyVolumeAttribute. A volume's I/O is never switched off here: its data
 * is never potentially inconsistent, so `autoEnableIO` is kept for who asks and decides nothing. Product
 * codes come from a marketplace, which there is none of.
 */
import type { ActionTable } from "../../resources/actions.ts";
import { invalidCombination, invalidParameter } from "../../resources/errors.ts";
import type { ComputeState } from "../state.ts";

const attributes: readonly string[] = ["autoEnableIO", "productCodes"];

export function volumeAttributeActions({ volumes }: ComputeState) {
  return {
    DescribeVolumeAttribute: {
      resources: (input, call) => [volumes.arnOf(call, input.VolumeId)],
      check: async (input, call) => {
        if (!attributes.includes(input.Attribute)) {
          throw invalidParameter(
            "attribute",
            input.Attribute,
            `Expected: ${attributes.join(", ")}.`,
          );
        }
        await volumes.require(call.account_id, input.VolumeId);
      },
      run: async (input, call) => {
        const volume = await volumes.require(call.account_id, input.VolumeId);
        return input.Attribute === "autoEnableIO"
          ? { VolumeId: volume.volume_id, AutoEnableIO: { Value: volume.auto_enable_io === true } }
          : { VolumeId: volume.volume_id, ProductCodes: [] };
      },
    },

    ModifyVolumeAttribute: {
      resources: (input, call) => [volumes.arnOf(call, input.VolumeId)],
      check: async (input, call) => {
        if (input.AutoEnableIO?.Value === undefined) {
          throw invalidCombination("No attributes specified.");
        }
        await volumes.require(call.account_id, input.VolumeId);
      },
      run: async (input, call) => {
        await volumes.modify(call.account_id, input.VolumeId, (volume) => ({
          ...volume,
          auto_enable_io: input.AutoEnableIO?.Value === true,
        }));
        return {};
      },
    },
  } satisfies ActionTable;
}
