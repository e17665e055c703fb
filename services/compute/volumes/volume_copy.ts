/**
 * CopyVolumes: a volume with what another one holds at the moment of the answer, attached or not. It is
 * `creating` until the block store has all of it and shares its chunks from then on; the point in time
 * in between is a snapshot of the block store's that no account sees.
 */
import type { ActionTable, Call } from "../../resources/actions.ts";
import { incorrectState, invalidValue } from "../../resources/errors.ts";
import { newId } from "../../resources/ids.ts";
import { mayBeRepeated } from "../../resources/client_tokens.ts";
import { tagsFromSpecifications } from "../../resources/tags.ts";
import type { Input } from "../../resources/wire.ts";
import type { VolumeRecord } from "../contract.ts";
import { chooseEncryption, encryptionDefaults } from "./encryption_choice.ts";
import type { Quotas } from "../quotas/quotas.ts";
import type { ComputeState } from "../state.ts";
import type { VolumeKeeper } from "./volume_keeper.ts";
import { checkCapacity } from "./volume_lifecycle.ts";
import { showVolume, volumeType } from "./volume_type.ts";
import { changedPerformance, refuseMultiAttach, typeNamed } from "./volume_performance.ts";

/** What the copy is to be. @throws AwsError */
function shapeOf(input: Input<"CopyVolumes">, source: VolumeRecord) {
  if (source.state !== "available" && source.state !== "in-use") {
    throw incorrectState(`The volume '${source.volume_id}' is '${source.state}'.`);
  }
  const size_gib = input.Size ?? source.size_gib;
  if (size_gib < source.size_gib) {
    throw invalidValue(
      `The size of a copy, ${size_gib} GiB, is smaller than its source's, ${source.size_gib} GiB.`,
    );
  }
  const performance = changedPerformance(source, {
    volume_type: input.VolumeType === undefined ? undefined : typeNamed(input.VolumeType),
    size_gib,
    iops: input.Iops,
    throughput: input.Throughput,
  });
  refuseMultiAttach(input.MultiAttachEnabled, performance.volume_type);
  return { size_gib, ...performance };
}

export function volumeCopyActions(keeper: VolumeKeeper, state: ComputeState, quotas: Quotas) {
  const { bus, volumes } = keeper.dependencies;
  const tagsOf = (input: Input<"CopyVolumes">) =>
    tagsFromSpecifications(input.TagSpecifications, ["volume"])["volume"] ?? {};
  const encryptionOf = (input: Input<"CopyVolumes">, call: Call, source: VolumeRecord) =>
    chooseEncryption(
      input,
      encryptionDefaults(state.records, call.region, call.account_id),
      source,
    );
  return {
    CopyVolumes: {
      resources: (input, call) => [
        volumes.arnOf(call, "*"),
        volumes.arnOf(call, input.SourceVolumeId),
      ],
      check: async (input, call) => {
        tagsOf(input);
        if (mayBeRepeated(input)) return;
        const source = await volumes.require(call.account_id, input.SourceVolumeId);
        shapeOf(input, source);
        encryptionOf(input, call, source);
      },
      run: (input, call) =>
        state.tokens.once(call, {
          action: "CopyVolumes",
          input,
          choose: () => newId(volumeType.idPrefix),
          work: async (volume_id) => {
            const source = await volumes.require(call.account_id, input.SourceVolumeId);
            const shape = shapeOf(input, source);
            quotas.checkStorage(call.account_id, shape.size_gib);
            await checkCapacity(bus, shape.size_gib);
            const copy = await keeper.copy({
              ...shape,
              ...encryptionOf(input, call, source),
              volume_id,
              account_id: call.account_id,
              source_volume_id: source.volume_id,
              tags: tagsOf(input),
            });
            return { Volumes: [showVolume(copy)] };
          },
          again: async (id) => ({
            Volumes: [showVolume(await volumes.require(call.account_id, id))],
          }),
        }),
    },
  } satisfies ActionTable;
}
