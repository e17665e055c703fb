/**
 * How QEMU is told of a disk, by either of the block engine's doors. Pure.
 *
 * Over NBD QEMU is the engine's client, and a disk whose server is gone stops the guest after minutes. Over
 * vhost-user-blk the engine serves the guest's rings itself: while it is away requests wait in
 * the guest's memory, QEMU connects again, and what was under way is done again.
 */
import type { Disk } from "./hypervisor.ts";

export type DiskDoor = "nbd" | "vhost-user";

/** The NBD client tries again after 1, 2, 4, 8, 16 s: a delay of seconds gives up between two tries. */
const reconnectDelay_s = 300;
/** How long adding a disk may wait for its server. */
export const openTimeout_s = 5;
/** How often QEMU tries to reach an engine that is being started again: half of it is added to each pause. */
export const reconnect_ms = 20;
/** Queues of one disk; more processors share them. */
const mostQueues = 4;

/** Name of QEMU's block node, and the disk's serial: 20 bytes, all that virtio-blk has room for. */
export function blockNode(volumeId: string): string {
  return volumeId.replace("-", "");
}

export const deviceId = (volumeId: string) => `disk-${blockNode(volumeId)}`;

export const chardevPrefix = "engine-";

/** Name of the connection to the engine. */
export const chardevId = (volumeId: string) => `${chardevPrefix}${blockNode(volumeId)}`;

/** A comma ends a value in QEMU's own option syntax; doubled it stands for itself. */
export const optionValue = (text: string) => text.replaceAll(",", ",,");

/** @param isShared whether the machine's memory can be mapped by the engine */
export function doorOf(disk: Disk, isShared: boolean): DiskDoor {
  return isShared && disk.vhost_socket !== undefined ? "vhost-user" : "nbd";
}

export function blockdev(disk: Disk): Record<string, unknown> {
  return {
    driver: "nbd",
    "node-name": blockNode(disk.volume_id),
    server: { type: "unix", path: disk.socket },
    export: disk.volume_id,
    "reconnect-delay": reconnectDelay_s,
    "open-timeout": openTimeout_s,
    discard: "unmap",
    cache: { direct: true },
  };
}

export function diskDevice(disk: Disk): Record<string, unknown> {
  return {
    driver: "virtio-blk-pci",
    id: deviceId(disk.volume_id),
    drive: blockNode(disk.volume_id),
    serial: blockNode(disk.volume_id),
    bus: `slot${disk.slot}`,
    iothread: "disks",
    "disable-legacy": "on",
    physical_block_size: 4096,
    werror: "stop",
    rerror: "stop",
    ...(disk.slot === 0 ? { bootindex: 0 } : {}),
  };
}

export function chardevOption(disk: Disk): string {
  const path = optionValue(disk.vhost_socket ?? "");
  return `socket,id=${chardevId(disk.volume_id)},path=${path},reconnect-ms=${reconnect_ms}`;
}

/** The same for `chardev-add`. */
export function chardev(disk: Disk): Record<string, unknown> {
  return {
    id: chardevId(disk.volume_id),
    backend: {
      type: "socket",
      data: {
        addr: { type: "unix", data: { path: disk.vhost_socket } },
        server: false,
        "reconnect-ms": reconnect_ms,
      },
    },
  };
}

/** Serial, size and limits are the engine's to tell. */
export function vhostDevice(disk: Disk, vcpus: number): Record<string, unknown> {
  return {
    driver: "vhost-user-blk-pci",
    id: deviceId(disk.volume_id),
    chardev: chardevId(disk.volume_id),
    bus: `slot${disk.slot}`,
    "num-queues": Math.max(1, Math.min(vcpus, mostQueues)),
    "disable-legacy": "on",
    ...(disk.slot === 0 ? { bootindex: 0 } : {}),
  };
}
