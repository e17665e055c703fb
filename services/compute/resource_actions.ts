/**
 * Everything of compute but the instances themselves, wired: key pairs, images, volumes, tags,
 * regions, instance types, and the work on them that goes on in the background.
 */
import type { Bus } from "../bus/bus.ts";
import type { NodeConfig } from "../config/node_config.ts";
import type { Log } from "../log/log.ts";
import type { CompleteTable } from "../resources/actions.ts";
import type { Resources } from "../resources/resource.ts";
import type { computeActions, InstanceRecord } from "./contract.ts";
import { ImageImporter } from "./transfers/image_import.ts";
import { imageCreationActions } from "./images/image_creation.ts";
import { imageCopyActions } from "./images/image_copy.ts";
import { imageStateActions } from "./images/image_states.ts";
import { imageActions } from "./images/images.ts";
import { imageAttributeActions } from "./images/image_attributes.ts";
import { imageRegistrationActions } from "./images/image_registration.ts";
import { type HostSize, instanceTypeActions } from "./instances/instance_types.ts";
import { keyPairActions } from "./keys/key_pairs.ts";
import { Quotas } from "./quotas/quotas.ts";
import { recordActions } from "./record_families/record_families.ts";
import { recordFamilies } from "./record_families/record_family.ts";
import { regionActions } from "./regions.ts";
import { fastRestoreActions } from "./snapshots/fast_restore_actions.ts";
import { FastRestoreKeeper } from "./snapshots/fast_restores.ts";
import { snapshotActions } from "./snapshots/snapshot_actions.ts";
import { snapshotPermissionActions } from "./snapshots/snapshot_permissions.ts";
import { SnapshotKeeper } from "./snapshots/snapshots.ts";
import type { ComputeState } from "./state.ts";
import { tagActions, taggable, TaggableTypes, type TagOwner } from "./tags.ts";
import { VolumeKeeper } from "./volumes/volume_keeper.ts";
import type { VolumePlugger } from "./volumes/volume_plugger.ts";
import { modificationActions } from "./volumes/modification_actions.ts";
import { transferActions } from "./transfers/transfer_actions.ts";
import type { ObjectDoor } from "./transfers/transfer.ts";
import { TransferKeeper } from "./transfers/transfer_keeper.ts";
import { volumeAttributeActions } from "./volumes/volume_attributes.ts";
import { volumeCopyActions } from "./volumes/volume_copy.ts";
import { volumeActions } from "./volumes/volumes.ts";

export interface ResourceSideOptions {
  readonly bus: Bus;
  readonly log: Log;
  readonly config: NodeConfig;
  readonly state: ComputeState;
  readonly instances: Resources<InstanceRecord>;
  readonly plugger: VolumePlugger;
  readonly host: HostSize;
  /** Buckets, on behalf of a caller. */
  readonly objects: ObjectDoor;
  /** Where disk images lie on their way. */
  readonly transferDirectory: string;
  /** Who else has resources that carry tags. */
  readonly tagOwners?: readonly TagOwner[];
}

/** Actions of instances, which the other half answers. */
export type InstanceAction =
  | "AssociateIamInstanceProfile"
  | "DescribeIamInstanceProfileAssociations"
  | "DescribeInstanceStatus"
  | "DescribeInstances"
  | "DisassociateIamInstanceProfile"
  | "GetConsoleOutput"
  | "GetConsoleScreenshot"
  | "GetInstanceTpmEkPub"
  | "GetInstanceUefiData"
  | "RebootInstances"
  | "ReplaceIamInstanceProfileAssociation"
  | "RunInstances"
  | "StartInstances"
  | "StopInstances"
  | "TerminateInstances";

export type ResourceAction = Exclude<(typeof computeActions)[number], InstanceAction>;

/** How often claims on client tokens that are a day old are looked for. */
const expire_ms = 3600_000;

export class ResourceSide {
  readonly keeper: VolumeKeeper;
  readonly snapshots: SnapshotKeeper;
  readonly fastRestores: FastRestoreKeeper;
  readonly importer: ImageImporter;
  readonly transfers: TransferKeeper;
  readonly quotas: Quotas;
  readonly actions: CompleteTable<ResourceAction>;
  readonly taggable: TaggableTypes;
  readonly #options: ResourceSideOptions;
  #timer: ReturnType<typeof setInterval> | undefined;

  constructor(options: ResourceSideOptions) {
    const { bus, log, config, state, instances, plugger, host } = options;
    this.#options = options;
    const { volumes, snapshots, images, keyPairs } = state;
    this.keeper = new VolumeKeeper({ bus, log, config, volumes, instances, plugger });
    this.snapshots = new SnapshotKeeper(bus, log, state, instances);
    this.fastRestores = new FastRestoreKeeper(bus, log, state);
    this.quotas = new Quotas(state, instances);
    const { quotas } = this;
    const { objects, transferDirectory: directory } = options;
    this.transfers = new TransferKeeper({ bus, log, config, state, objects, directory });
    const families = recordFamilies({
      bus,
      config,
      state,
      instances,
      host,
      records: state.records,
    });
    this.importer = new ImageImporter({ bus, log, config, state });
    this.taggable = new TaggableTypes(
      [
        taggable(instances),
        taggable(volumes),
        taggable(snapshots),
        taggable(images),
        taggable(keyPairs),
        ...state.records.kinds.filter((one) => one.untagged !== true)
          .map((one) => taggable(state.records.of(one))),
      ],
      bus,
      options.tagOwners ?? [],
    );
    this.actions = {
      ...keyPairActions(state),
      ...imageActions(state, this.snapshots),
      ...imageAttributeActions(state),
      ...imageCopyActions(state, this.snapshots),
      ...imageRegistrationActions(state, this.snapshots),
      ...imageStateActions(state),
      ...volumeActions(this.keeper, state, quotas),
      ...modificationActions(this.keeper, quotas),
      ...volumeAttributeActions(state),
      ...volumeCopyActions(this.keeper, state, quotas),
      ...snapshotActions(state, instances, this.snapshots, quotas),
      ...fastRestoreActions(families.operations, this.fastRestores, config.az),
      ...snapshotPermissionActions(state),
      ...imageCreationActions(state, instances, this.snapshots),
      ...regionActions(config),
      ...instanceTypeActions(host),
      ...tagActions(this.taggable),
      ...transferActions(families.operations, this.transfers),
      ...recordActions(families),
    };
  }

  /** Takes up what an earlier run left, and answers the node's own questions. */
  start(): void {
    this.keeper.start();
    this.snapshots.start();
    this.fastRestores.start();
    this.importer.start();
    this.transfers.start();
    const { state, log } = this.#options;
    this.#timer = setInterval(
      () =>
        void state.tokens.expire().catch((error) =>
          log.warn("client_tokens_expire_failed", { error: String(error) })
        ),
      expire_ms,
    );
  }

  /** Lets what runs come to its end; what is left is taken up at the next start. */
  async stop(): Promise<void> {
    clearInterval(this.#timer);
    await this.importer.stop();
    await this.transfers.stop();
    await this.keeper.stop();
    await this.fastRestores.stop();
    await this.snapshots.stop();
    this.quotas[Symbol.dispose]();
  }
}
