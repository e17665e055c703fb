/**
 * Who works on volumes: one piece of work at a time for each, finished in the background where the
 * caller need not wait, tried again until it is done, and taken up again at start from what KV says.
 *
 * What a caller is told to have failed is undone; where even that cannot be done now (the block
 * store is away, a guest does not let go of its disk), the record says `deleting` or `detaching`
 * and the work goes on later. Nothing is forgotten, since nothing but KV needs to remember it.
 */
import { AwsError } from "../../aws/errors.ts";
import { onNode, subject } from "../../bus/subject.ts";
import { errorFields } from "../../log/log.ts";
import type { CallContext } from "../../bus/subject.ts";
import type { VolumeAttachment, VolumeRecord } from "../contract.ts";
import { KeyedLock } from "../keyed_lock.ts";
import {
  type AttachRequest,
  checkAttachable,
  claimVolume,
  finishAttaching,
  finishDetaching,
  markDetaching,
  markEntryDetaching,
  unmarkDetaching,
} from "./volume_attachment.ts";
import {
  copyPoint,
  destroyDeleting,
  makePlanned,
  type NewVolume,
  planVolume,
  unlessMissing,
  type VolumeDependencies,
} from "./volume_lifecycle.ts";
import { incorrectState } from "../../resources/errors.ts";
import { createSnapshot, unmountVolume } from "../../viperblock/contract.ts";
import { finishModifying } from "./volume_modification.ts";

export interface DetachRequest {
  readonly account_id: string;
  readonly volume_id: string;
  readonly instance_id?: string;
  readonly device?: string;
}

/** Asked of the node that runs the instance. */
const attachOnNode = subject<AttachRequest, VolumeRecord>("ec2.volume.attach");
const detachOnNode = subject<DetachRequest, VolumeRecord>("ec2.volume.detach");

const firstRetry_ms = 250;
const lastRetry_ms = 30_000;
/** How often volumes whose work somebody else may have left undone are looked for. */
const sweep_ms = 60_000;
/** A launch makes volumes before its instance runs: an instance that is missing is waited for. */
const orphan_ms = 600_000;

export class VolumeKeeper {
  readonly #locks = new KeyedLock();
  /** Volumes under work; true when something was asked for meanwhile. */
  readonly #driven = new Map<string, boolean>();
  readonly #background = new Set<Promise<void>>();
  readonly #stop = new AbortController();

  constructor(readonly dependencies: VolumeDependencies) {}

  /** Answers this node's questions and takes up what an earlier run left. */
  start(): void {
    const { bus, config } = this.dependencies;
    bus.answer(onNode(config.node_id, attachOnNode), (request) => this.attachHere(request), {
      queue: null,
    });
    bus.answer(onNode(config.node_id, detachOnNode), (request) => this.detachHere(request), {
      queue: null,
    });
    this.sweep();
    const timer = setInterval(() => this.sweep(), sweep_ms);
    this.#stop.signal.addEventListener("abort", () => clearInterval(timer));
  }

  /** Stops trying again, and waits for the tries that run. */
  async stop(): Promise<void> {
    this.#stop.abort();
    await Promise.allSettled([...this.#background]);
  }

  /** Drives every volume that is on its way somewhere. */
  sweep(): void {
    for (const volume of this.dependencies.volumes.all()) {
      if (this.#isMoving(volume)) this.drive(volume.account_id, volume.volume_id);
      else if (this.#isOrphan(volume)) this.#adopt(volume);
    }
  }

  /** Held by an instance that is no more: left by a termination or a launch that was cut short. */
  #isOrphan({ account_id, attachment }: VolumeRecord): boolean {
    if (attachment === undefined || attachment.node_id !== this.dependencies.config.node_id) {
      return false;
    }
    const { instances } = this.dependencies;
    const instance = instances.table.get(instances.keyOf(account_id, attachment.instance_id));
    return (instance === undefined || instance.value.state === "terminated") &&
      Date.now() - Date.parse(attachment.attach_time) > orphan_ms;
  }

  /**
   * Data is never deleted by inference: only an instance that says of itself that it is terminated
   * takes volumes along. One whose record is merely missing leaves them free.
   */
  #adopt({ account_id, volume_id, attachment }: VolumeRecord): void {
    if (attachment === undefined) return;
    const { log, instances } = this.dependencies;
    const { instance_id } = attachment;
    const work = (async () => {
      const row = await instances.table.read(instances.keyOf(account_id, instance_id));
      if (row !== undefined && row.value.state !== "terminated") return;
      await this.letGo(account_id, volume_id, instance_id, { keep: row === undefined });
    })()
      .catch((error) => log.warn("volume_orphaned", { volume_id, ...errorFields(error) }))
      .finally(() => this.#background.delete(work));
    this.#background.add(work);
  }

  /** The node that has the volume's guest does the work; one without a guest is anybody's. */
  #isMine(attachment: VolumeRecord["attachment"]): boolean {
    return attachment === undefined ||
      attachment.node_id === this.dependencies.config.node_id;
  }

  #isMoving({ state, attachment, modification }: VolumeRecord): boolean {
    if (state === "creating" || state === "deleting") return true;
    if (modification?.state === "modifying") return this.#isMine(attachment);
    return attachment !== undefined && attachment.status !== "attached" &&
      attachment.node_id === this.dependencies.config.node_id;
  }

  /** Makes a volume and answers when it is there. @throws AwsError and leaves nothing */
  async provision(plan: NewVolume): Promise<VolumeRecord> {
    const { account_id, volume_id } = plan;
    return await this.#locks.hold(volume_id, async () => {
      let planned = await planVolume(this.dependencies, plan);
      if (planned.state === "deleting") {
        await destroyDeleting(this.dependencies, planned);
        planned = await planVolume(this.dependencies, plan);
      }
      try {
        return await makePlanned(this.dependencies, planned);
      } catch (error) {
        await this.#undo(account_id, volume_id, async () => {
          await this.#markDeleting(account_id, volume_id);
        });
        throw error;
      }
    });
  }

  /** Begins a volume whose content takes a while, and answers it as `creating`. */
  async begin(plan: NewVolume): Promise<VolumeRecord> {
    const planned = await planVolume(this.dependencies, plan);
    if (planned.state === "creating") this.drive(plan.account_id, plan.volume_id);
    return planned;
  }

  /**
   * Begins a copy of a volume and answers it as `creating`; it is made in the background.
   * @throws AwsError and leaves nothing
   */
  async copy(plan: NewVolume & { readonly source_volume_id: string }): Promise<VolumeRecord> {
    const { account_id, volume_id, source_volume_id } = plan;
    const planned = await planVolume(this.dependencies, plan);
    if (planned.state !== "creating") return planned;
    try {
      await this.dependencies.bus.ask(createSnapshot, {
        volume_id: source_volume_id,
        snapshot_id: await copyPoint(volume_id),
      });
    } catch (error) {
      await this.#undo(
        account_id,
        volume_id,
        () => this.#markDeleting(account_id, volume_id),
      );
      throw error;
    }
    this.drive(account_id, volume_id);
    return planned;
  }

  async #markDeleting(account: string, volumeId: string): Promise<void> {
    await this.dependencies.volumes.modify(account, volumeId, ({ attachment: _, ...volume }) => ({
      ...volume,
      state: "deleting",
    }));
  }

  /** Deletes a free volume; its blocks go in the background. */
  async remove(account: string, volumeId: string): Promise<void> {
    await this.dependencies.volumes.modify(account, volumeId, (volume) => {
      if (volume.attachment !== undefined) {
        throw new AwsError(
          "VolumeInUse",
          `Volume ${volumeId} is currently attached to ${volume.attachment.instance_id}`,
        );
      }
      if (volume.state === "creating") {
        throw incorrectState(`The volume '${volumeId}' is in the 'creating' state.`);
      }
      return volume.state === "deleting" ? volume : { ...volume, state: "deleting" };
    });
    this.drive(account, volumeId);
  }

  /**
   * Lets go of a volume whose instance has ended: no longer served, then deleted when it was to go
   * with the instance, else free. Repeating it is no error.
   * @param options.keep frees it in any case
   */
  async letGo(
    account: string,
    volumeId: string,
    instanceId: string,
    { keep = false } = {},
  ): Promise<void> {
    await this.#locks.hold(volumeId, async () => {
      const { volumes } = this.dependencies;
      const row = await volumes.table.read(volumes.keyOf(account, volumeId));
      if (row?.value.attachment?.instance_id !== instanceId) return;
      await unlessMissing(this.dependencies.bus.ask(unmountVolume, { volume_id: volumeId }));
      await volumes.modify(account, volumeId, (volume) => {
        const { attachment, ...rest } = volume;
        if (attachment?.instance_id !== instanceId) return volume;
        if (attachment.delete_on_termination && !keep) return { ...rest, state: "deleting" };
        return { ...rest, state: rest.state === "in-use" ? "available" : rest.state };
      });
    });
    this.drive(account, volumeId);
  }

  /** Attaches on the instance's node. @throws AwsError and leaves both records as they were */
  async attach(request: AttachRequest, nodeId: string, call: CallContext): Promise<VolumeRecord> {
    return await this.dependencies.bus.ask(onNode(nodeId, attachOnNode), request, call);
  }

  /** Begins to detach on the instance's node; it ends in the background. */
  async detach(request: DetachRequest, nodeId: string, call: CallContext): Promise<VolumeRecord> {
    return await this.dependencies.bus.ask(onNode(nodeId, detachOnNode), request, call);
  }

  /** Attaches to an instance of this node. */
  async attachHere(request: AttachRequest): Promise<VolumeRecord> {
    const { account_id, volume_id } = request;
    return await this.#locks.hold(volume_id, async () => {
      const claimed = await claimVolume(this.dependencies, request);
      try {
        return await finishAttaching(this.dependencies, claimed);
      } catch (error) {
        await this.#undo(account_id, volume_id, async () => {
          const marked = await markDetaching(this.dependencies, account_id, volume_id);
          await finishDetaching(this.dependencies, marked);
        });
        throw error;
      }
    });
  }

  /** Begins to detach from an instance of this node. */
  async detachHere(request: DetachRequest): Promise<VolumeRecord> {
    const { account_id, volume_id } = request;
    const { volumes } = this.dependencies;
    const before = await volumes.require(account_id, volume_id);
    if (before.attachment?.status === "detaching") {
      // The guest is asked again, and nothing more: while it has the disk nobody else may, with force or without. It is no
      // error, since clients take `IncorrectState` to say that the volume is free.
      checkNamed(before, request);
      this.drive(account_id, volume_id);
      return before;
    }
    const marked = await this.#locks.hold(volume_id, async () => {
      let isUnderWay = false;
      const volume = await markDetaching(
        this.dependencies,
        account_id,
        volume_id,
        (now) => {
          const { status } = checkNamed(now, request);
          if (status === "attaching") throw incorrectState(`Volume '${volume_id}' is '${status}'.`);
          isUnderWay = status === "detaching";
        },
      );
      // Somebody else's request came first.
      if (isUnderWay) return volume;
      try {
        await markEntryDetaching(this.dependencies, volume, (entry, instance) => {
          if (instance.state === "terminated") return;
          checkAttachable(instance);
          if (entry.device === instance.root_device_name && instance.state !== "stopped") {
            throw new AwsError(
              "OperationNotPermitted",
              `Unable to detach root volume '${entry.device}' from instance '${instance.instance_id}'`,
            );
          }
        });
      } catch (error) {
        await this.#undo(
          account_id,
          volume_id,
          () => unmarkDetaching(this.dependencies, account_id, volume_id),
        );
        throw error;
      }
      return volume;
    });
    this.drive(account_id, volume_id);
    return marked;
  }

  /** Tries to undo now; what cannot be undone now goes on in the background. */
  async #undo(account: string, volumeId: string, work: () => Promise<void>): Promise<void> {
    try {
      await work();
    } catch (error) {
      this.dependencies.log.warn("volume_undo_delayed", {
        volume_id: volumeId,
        ...errorFields(error),
      });
    }
    this.drive(account, volumeId);
  }

  /** Brings a volume to where its record says it goes, in the background, until it is there. */
  drive(account: string, volumeId: string): void {
    if (this.#stop.signal.aborted) return;
    const isDriven = this.#driven.has(volumeId);
    this.#driven.set(volumeId, isDriven);
    if (isDriven) return;
    const work = this.#driveOn(account, volumeId).finally(() => this.#background.delete(work));
    this.#background.add(work);
  }

  async #driveOn(account: string, volumeId: string): Promise<void> {
    const { log } = this.dependencies;
    for (let wait_ms = firstRetry_ms; !this.#stop.signal.aborted;) {
      try {
        const isThere = await this.converge(account, volumeId);
        if (isThere && this.#driven.get(volumeId) !== true) break;
        this.#driven.set(volumeId, false);
        continue;
      } catch (error) {
        log.warn("volume_work_delayed", { volume_id: volumeId, wait_ms, ...errorFields(error) });
      }
      await pause(wait_ms, this.#stop.signal);
      wait_ms = Math.min(wait_ms * 2, lastRetry_ms);
    }
    this.#driven.delete(volumeId);
  }

  /** What the block store refuses for good is `error` from then on: its owner can delete it. */
  async #make(volume: VolumeRecord): Promise<void> {
    const { volumes, log } = this.dependencies;
    const { account_id, volume_id } = volume;
    try {
      await makePlanned(this.dependencies, volume);
    } catch (error) {
      if (!(error instanceof AwsError) || error.status >= 500) throw error;
      log.warn("volume_not_made", { volume_id, ...errorFields(error) });
      await volumes.modify(
        account_id,
        volume_id,
        (now) => now.state === "creating" ? { ...now, state: "error" } : now,
      );
    }
  }

  /** One try; true when the volume has nowhere to go any more. */
  async converge(account: string, volumeId: string): Promise<boolean> {
    return await this.#locks.hold(volumeId, async () => {
      const { volumes } = this.dependencies;
      const volume = (await volumes.table.read(volumes.keyOf(account, volumeId)))?.value;
      if (volume === undefined || !this.#isMoving(volume)) return true;
      if (volume.state === "deleting") await destroyDeleting(this.dependencies, volume);
      else if (volume.state === "creating") await this.#make(volume);
      else if (
        volume.modification?.state === "modifying" &&
        (volume.attachment === undefined || volume.attachment.status === "attached")
      ) await finishModifying(this.dependencies, volume);
      else if (volume.attachment?.status === "detaching") {
        await finishDetaching(this.dependencies, volume);
      } else {
        try {
          await finishAttaching(this.dependencies, volume);
        } catch (error) {
          if (!(error instanceof AwsError) || error.status >= 500) throw error;
          await markDetaching(this.dependencies, account, volumeId);
        }
      }
      return false;
    });
  }
}

/** @throws AwsError unless the volume is where the request says */
function checkNamed(volume: VolumeRecord, request: DetachRequest): VolumeAttachment {
  const attachment = volume.attachment;
  if (attachment === undefined) {
    throw incorrectState(`Volume '${volume.volume_id}' is in the '${volume.state}' state.`);
  }
  if (request.instance_id !== undefined && request.instance_id !== attachment.instance_id) {
    throw new AwsError(
      "InvalidAttachment.NotFound",
      `The volume '${volume.volume_id}' is not attached to instance '${request.instance_id}'.`,
    );
  }
  if (request.device !== undefined && request.device !== attachment.device) {
    throw new AwsError(
      "InvalidAttachment.NotFound",
      `The volume '${volume.volume_id}' is not attached as device '${request.device}'.`,
    );
  }
  return attachment;
}

function pause(time_ms: number, signal: AbortSignal): Promise<void> {
  if (signal.aborted) return Promise.resolve();
  const { promise, resolve } = Promise.withResolvers<void>();
  const done = () => {
    clearTimeout(timer);
    signal.removeEventListener("abort", done);
    resolve();
  };
  const timer = setTimeout(done, time_ms);
  signal.addEventListener("abort", done);
  return promise;
}
