/**
 * A launch, and every later start, as a saga: capacity, volumes, their service, the machine. The
 * steps find the volumes of a first launch in `planned_volumes`; a start has none and makes none.
 * The same undos, in reverse, are how an instance is brought down.
 *
 * Nothing of a step is remembered outside the record, the block store and the machine itself.
 */
import { AwsError } from "../../aws/errors.ts";
import type { Bus } from "../../bus/bus.ts";
import type { Log } from "../../log/log.ts";
import type { NodeConfig, Paths } from "../../config/node_config.ts";
import type { Resources } from "../../resources/resource.ts";
import { mountVolume, unmountVolume } from "../../viperblock/contract.ts";
import type { Capacity, Need } from "./capacity.ts";
import type { Attachment, InstanceRecord } from "../contract.ts";
import { delay } from "../delay.ts";
import { type Disk, type Hypervisor, type Machine, StartFailed } from "../machines/hypervisor.ts";
import type { GuestNetwork } from "../machines/network.ts";
import type { Step } from "./saga.ts";
import { unlessMissing } from "../volumes/volume_lifecycle.ts";
import type { SnapshotKeeper } from "../snapshots/snapshots.ts";
import type { VolumeKeeper } from "../volumes/volume_keeper.ts";

/** What an instance type is, as far as a machine is concerned. */
export type TypeCatalog = (name: string) => Need | undefined;

export interface InstanceDependencies {
  readonly bus: Bus;
  readonly log: Log;
  readonly config: NodeConfig;
  readonly paths: Paths;
  readonly instances: Resources<InstanceRecord>;
  readonly keeper: Pick<VolumeKeeper, "provision" | "letGo" | "remove">;
  /** What waits for a guest to be down; repeatable. */
  readonly snapshots: Pick<SnapshotKeeper, "freezeDown">;
  readonly hypervisor: Hypervisor;
  readonly network: GuestNetwork;
  readonly capacity: Capacity;
  readonly sizeOf: TypeCatalog;
}

/** One run of the saga on one instance. */
export interface Launch {
  readonly dependencies: InstanceDependencies;
  readonly instance: InstanceRecord;
  /** The machine of the instance as the registry knows it. */
  machine(): Promise<Machine | undefined>;
  adopt(machine: Machine): void;
  /** Puts the local port of the guest's SSH on record, before a machine uses it. */
  notePort(ssh_port: number | undefined): Promise<void>;
}

/** Somebody may take a local port between our choice and QEMU's. */
const portTries = 5;
/** A mount right after a restart of the block service waits for its replay. */
const mountTries = 3;

const claimCapacity: Step<Launch> = {
  name: "capacity",
  async run({ dependencies: { capacity, sizeOf }, instance }) {
    const size = sizeOf(instance.instance_type);
    if (size === undefined) {
      throw new AwsError(
        "InvalidParameterValue",
        `The instance type ${instance.instance_type} is not offered any more.`,
      );
    }
    await capacity.claim([instance.instance_id], size, 1, instance.instance_type);
  },
  async undo({ dependencies: { capacity }, instance }) {
    await capacity.release([instance.instance_id]);
  },
};

const makeVolumes: Step<Launch> = {
  name: "volumes",
  async run({ dependencies: { keeper, config }, instance }) {
    await Promise.all((instance.planned_volumes ?? []).map(async (planned) => {
      const attachment = attachmentOf(instance, planned.volume_id);
      await keeper.provision({
        ...planned,
        account_id: instance.account_id,
        attachment: {
          instance_id: instance.instance_id,
          node_id: config.node_id,
          device: attachment.device,
          status: "attached",
          attach_time: attachment.attach_time,
          delete_on_termination: attachment.delete_on_termination,
          slot: attachment.slot,
        },
      });
    }));
  },
  async undo({ dependencies: { keeper }, instance }) {
    // A launch that failed keeps nothing, whatever its volumes were to outlive.
    for (const { volume_id } of instance.planned_volumes ?? []) {
      await keeper.letGo(instance.account_id, volume_id, instance.instance_id);
      await unlessMissing(keeper.remove(instance.account_id, volume_id));
    }
  },
};

const serveVolumes: Step<Launch> = {
  name: "service",
  async run(launch) {
    await disksOf(launch);
  },
  async undo({ dependencies: { bus }, instance }) {
    await Promise.all(
      instance.attachments.map(({ volume_id }) =>
        unlessMissing(bus.ask(unmountVolume, { volume_id }))
      ),
    );
  },
};

const startMachine: Step<Launch> = {
  name: "machine",
  async run(launch) {
    if (await launch.machine() !== undefined) return;
    const { dependencies: { hypervisor, network, sizeOf }, instance } = launch;
    const size = sizeOf(instance.instance_type);
    if (size === undefined) throw new Error(`no size of ${instance.instance_type}`);
    // Served again here, since a saga that goes on after a power cut has only the record's word.
    const disks = await disksOf(launch);
    for (let attempt = 1;; attempt++) {
      const connection = await network.connect(
        instance.instance_id,
        instance.network,
        instance.account_id,
      );
      await launch.notePort(connection.ssh_port);
      try {
        launch.adopt(
          await hypervisor.start({
            instance_id: instance.instance_id,
            instance_type: instance.instance_type,
            architecture: instance.architecture,
            vcpus: size.vcpus,
            memory_mib: size.memory_mib,
            tpm: instance.tpm === "v2.0",
            network: connection.arguments,
            disks,
          }),
        );
        return;
      } catch (error) {
        if (!(error instanceof StartFailed) || !error.portTaken || attempt === portTries) {
          throw error;
        }
      }
    }
  },
  async undo(launch) {
    await (await launch.machine())?.end();
  },
};

/** In the order of a launch; undone in reverse. */
export const launchSteps: readonly Step<Launch>[] = [
  claimCapacity,
  makeVolumes,
  serveVolumes,
  startMachine,
];

/** Takes the machine, the service of its volumes and its capacity away, keeping the volumes. */
export async function releaseMachine(launch: Launch): Promise<void> {
  await startMachine.undo(launch);
  await serveVolumes.undo(launch);
  await claimCapacity.undo(launch);
}

/** Ends what only a terminated instance gives up: its volumes, its address, its volumes' plans. */
export async function releaseForGood(launch: Launch): Promise<void> {
  const { dependencies: { keeper, network }, instance } = launch;
  const planned = new Set((instance.planned_volumes ?? []).map((plan) => plan.volume_id));
  for (const { volume_id } of instance.attachments) {
    if (!planned.has(volume_id)) {
      await keeper.letGo(instance.account_id, volume_id, instance.instance_id);
    }
  }
  await makeVolumes.undo(launch);
  await network.release(instance, instance.network);
}

function attachmentOf(instance: InstanceRecord, volumeId: string): Attachment {
  const found = instance.attachments.find((attachment) => attachment.volume_id === volumeId);
  if (found === undefined) throw new Error(`${volumeId} is planned and not among the attachments`);
  return found;
}

/** Serves every volume of the instance that is not on its way out. */
async function disksOf({ dependencies: { bus }, instance }: Launch): Promise<readonly Disk[]> {
  const staying = instance.attachments.filter(({ status }) => status !== "detaching");
  // When one fails the others are waited for: none may come to be served after all were let go of.
  const served = await Promise.allSettled(staying.map(async ({ volume_id, slot }) => {
    for (let attempt = 1;; attempt++) {
      try {
        const { socket, vhost_socket } = await bus.ask(mountVolume, { volume_id });
        return {
          volume_id,
          socket,
          ...(vhost_socket === undefined ? {} : { vhost_socket }),
          slot,
        };
      } catch (error) {
        const isAway = error instanceof AwsError && error.status === 503;
        if (!isAway || attempt === mountTries) throw error;
        await delay(500 * attempt);
      }
    }
  }));
  const failure = served.find((one) => one.status === "rejected");
  if (failure !== undefined) throw failure.reason;
  const disks = served.flatMap((one) => one.status === "fulfilled" ? [one.value] : []);
  return disks.sort((one, other) => one.slot - other.slot);
}
