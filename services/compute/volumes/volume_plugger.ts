/**
 * The machine's side of an attachment: what puts a served volume into a running guest and takes it
 * out again. The records' side is in `volume_attachment.ts`.
 */
import type { Attachment, InstanceRecord } from "../contract.ts";

export interface VolumePlugger {
  /**
   * Puts the volume that is served on `socket` (export name: the volume's id) into the running
   * guest. Plugging what is plugged is no error: it is repeated after a crash.
   * @param vhostSocket where it is served over vhost-user-blk, if it is
   */
  plug(
    instance: InstanceRecord,
    attachment: Attachment,
    socket: string,
    vhostSocket?: string,
  ): Promise<void>;
  /** Tells the running guest that the volume has `size_bytes` now. Repeating it is no error. */
  grow(instance: InstanceRecord, attachment: Attachment, size_bytes: number): Promise<void>;
  /**
   * Takes the volume out of the guest and returns when QEMU has let it go. What is not plugged, or a
   * guest that no longer runs, is no error.
   */
  unplug(instance: InstanceRecord, attachment: Attachment): Promise<void>;
}
