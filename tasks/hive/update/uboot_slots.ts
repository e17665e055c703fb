/**
 * Slots on a machine that U-Boot starts (a Raspberry Pi): written as on a machine with UEFI, but there
 * is no systemd-boot that counts. The new version is started once, and the start after that is the old
 * version's, unless the new one was kept in between (`hive admin keep`, by mulga-keep.service).
 */
import type { BootPartition } from "../uboot/boot_choice.ts";
import { forgetTrial, keep, readBootState, tryOnce } from "../uboot/boot_choice.ts";
import type { Part, Release } from "./release.ts";
import type { InstalledVersion, Progressing, Slots } from "./slots.ts";

export class UBootSlots implements Slots {
  readonly #slots: Slots;
  readonly #partition: () => Promise<BootPartition>;

  /** @param slots what writes the partitions and the kernel images */
  constructor(slots: Slots, partition: () => Promise<BootPartition>) {
    this.#slots = slots;
    this.#partition = partition;
  }

  current(): Promise<string> {
    return this.#slots.current();
  }

  async list(): Promise<InstalledVersion[]> {
    const current = await this.current();
    const { next, unproven } = await readBootState(await this.#partition(), current);
    return (await this.#slots.list()).map((one): InstalledVersion => {
      if (one.state === "incomplete") return one;
      const trying = one.version === next || one.running;
      const state = !unproven.includes(one.version) ? "good" : trying ? "trying" : "failed";
      return { ...one, state };
    });
  }

  capacity(part: Part): Promise<number> {
    return this.#slots.capacity(part);
  }

  requireBootSpace(bytes: number): Promise<void> {
    return this.#slots.requireBootSpace(bytes);
  }

  async install(release: Release, staging: string, progressing: Progressing): Promise<void> {
    const running = await this.current();
    const partition = await this.#partition();
    // From here on the running version starts, whatever else lies on the boot partition.
    await keep(partition, running);
    await this.#slots.install(release, staging, progressing);
    if (release.version !== running) {
      await tryOnce(partition, { version: release.version, running });
    }
  }

  async remove(version: string): Promise<void> {
    const partition = await this.#partition();
    const { next } = await readBootState(partition, await this.current());
    if (next === version) await forgetTrial(partition);
    await this.#slots.remove(version);
  }

  reboot(): Promise<void> {
    return this.#slots.reboot();
  }
}
