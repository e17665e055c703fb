/**
 * The two slots of the system: which versions are in them, and how another one gets there. One
 * implementation for machines with UEFI (`sysupdate_slots.ts`); a board whose firmware knows no boot
 * counting has its own.
 *
 * The running version's slot is never written. A version is installed when it can be started whole:
 * whatever makes it bootable is written last, so that a power cut leaves the old one alone.
 */
import type { Part, Release } from "./release.ts";

export interface InstalledVersion {
  readonly version: string;
  readonly running: boolean;
  /**
   * `good`: starts; `trying`: has some starts left to prove itself; `failed`: has used them up;
   * `incomplete`: in its slot, but nothing starts it.
   */
  readonly state: "good" | "trying" | "failed" | "incomplete";
}

export interface Progressing {
  readonly signal: AbortSignal;
  /** What is being done; with a share from 0 to 1 where it is known. */
  readonly progress: (what: string, share?: number) => void;
}

export interface Slots {
  current(): Promise<string>;
  list(): Promise<InstalledVersion[]>;
  /** How large a part may be, unpacked. @throws CommandError when there is no place for such a part */
  capacity(part: Part): Promise<number>;
  /**
   * Whether the place that starts versions has room for `bytes` more.
   * @throws CommandError saying what to do when it has not
   */
  requireBootSpace(bytes: number): Promise<void>;
  /**
   * Writes the staged parts into the other slot and makes the version the next to be started, on
   * trial. Repeating it after a kill at any moment comes to the same end.
   * @throws CommandError
   */
  install(release: Release, staging: string, progressing: Progressing): Promise<void>;
  /** Takes back what `install` did. @throws CommandError when it is the version that runs */
  remove(version: string): Promise<void>;
  /** Starts the machine anew, into the version that was installed last. */
  reboot(): Promise<void>;
}
