/**
 * What compute needs of a hypervisor, and no more. The implementation drives QEMU; everything above
 * speaks of machines and disks and knows neither QMP nor command lines.
 *
 * A machine outlives the process that started it. Whoever comes later finds it again by its
 * instance id, and trusts what the machine says over what anybody remembers.
 */

import type { Picture } from "./jpeg.ts";

export interface Disk {
  readonly volume_id: string;
  /** Unix socket where the volume is served over NBD; the export's name is the volume's id. */
  readonly socket: string;
  /** Unix socket where it is served over vhost-user-blk, to machines that share their memory. */
  readonly vhost_socket?: string;
  /** Which of the machine's slots it sits in; 0 is the root volume's. */
  readonly slot: number;
}

/** Slots for disks that a machine is made with: the root volume and 25 more. */
export const diskSlots = 26;

export interface MachineSpec {
  readonly instance_id: string;
  /** Told to the guest as its product name. */
  readonly instance_type: string;
  readonly architecture: "x86_64" | "arm64";
  readonly vcpus: number;
  readonly memory_mib: number;
  /** A TPM 2.0 of the instance's own. */
  readonly tpm: boolean;
  /** What the network wants the hypervisor to be given. */
  readonly network: readonly string[];
  readonly disks: readonly Disk[];
}

/**
 * `powered_off`: the guest has shut down and the machine waits to be let go. `io_error`: it stands
 * still because a disk does not answer. `disk_away`: it runs, and waits by itself for a disk that nobody serves.
 * `paused`: anything else that is not running.
 */
export type MachineStatus = "running" | "powered_off" | "io_error" | "disk_away" | "paused";

export interface Machine {
  readonly instance_id: string;
  /** Resolves when the machine exists no more. */
  readonly gone: Promise<void>;
  /** True once `gone` has resolved. */
  readonly isGone: boolean;
  status(): Promise<MachineStatus>;
  /** Presses the power button; the guest decides what follows. */
  pressPowerButton(): Promise<void>;
  /** Resets the machine at once, as the reset button does. */
  reset(): Promise<void>;
  /** Goes on after `io_error`; what failed is tried again. */
  resume(): Promise<void>;
  /** Ends the machine and returns when it exists no more, whatever state it is in. */
  end(): Promise<void>;
  /** Plugs a disk into the running machine; repeating it is no error. */
  plug(disk: Disk): Promise<void>;
  /** Takes a disk out; repeating it is no error. @throws UnplugRefused */
  unplug(volumeId: string): Promise<void>;
  /** Tells the guest that the disk has grown to that size; repeating it is no error. */
  grow(volumeId: string, size_bytes: number): Promise<void>;
  /** Whether a program in the guest listens to the channel for its agent. */
  hasAgent(): Promise<boolean>;
  /** Volumes that are plugged in now. */
  disks(): Promise<readonly string[]>;
  /** What is on its screen now. @throws NoScreen */
  screen(): Promise<Picture>;
  /** Presses a key that means nothing by itself, which wakes a screen that has gone dark. */
  wake(): Promise<void>;
  /** Hears whenever the status may have changed; call the result to stop. */
  onChange(listener: () => void): () => void;
  /** Lets go of the machine without touching it. */
  release(): Promise<void>;
}

/** The guest did not let go of a disk in time, as while it boots or when it hangs. */
export class UnplugRefused extends Error {
  override readonly name = "UnplugRefused";
}

/** The machine was started without a screen, by a release that gave guests none. */
export class NoScreen extends Error {
  override readonly name = "NoScreen";
}

/** The hypervisor would not start the machine; the message is its own. */
export class StartFailed extends Error {
  override readonly name = "StartFailed";
  /** @param portTaken true when another try with another local port may succeed */
  constructor(message: string, readonly portTaken: boolean) {
    super(message);
  }
}

export interface Hypervisor {
  readonly accelerator: "kvm" | "tcg";
  /** Starts a machine that is not there. @throws StartFailed */
  start(spec: MachineSpec): Promise<Machine>;
  /** The machine of an instance, if it exists. */
  find(instanceId: string): Promise<Machine | undefined>;
  /** Removes what the hypervisor keeps for an instance whose machine is gone for good. */
  forget(instanceId: string): Promise<void>;
}
