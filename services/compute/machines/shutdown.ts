/** Asks a guest to shut down, as pressing the power button does, and waits for it. */
import type { Machine } from "./hypervisor.ts";
import type { Pulse } from "../pulse.ts";

/** A guest that is still booting does not hear the button: it is pressed again. */
const press_ms = 10_000;

export interface ShutdownOptions {
  /** Woken by the machine's events and by changes of what is wanted. */
  readonly pulse: Pulse;
  readonly bound_ms: number;
  /** Asked at every turn; false gives the waiting up. */
  goesOn(): boolean;
}

/** @returns whether the guest shut down by itself, or its machine is gone anyhow */
export async function shutDown(machine: Machine, options: ShutdownOptions): Promise<boolean> {
  const limit = performance.now() + options.bound_ms;
  let nextPress = 0;
  for (;;) {
    if (machine.isGone) return true;
    const now = performance.now();
    try {
      const status = await machine.status();
      if (status === "powered_off") return true;
      if (now >= limit || !options.goesOn()) return false;
      // Only a guest that runs can hear; one that waits for a disk gets the button when it goes on.
      if (now >= nextPress && status === "running") {
        await machine.pressPowerButton();
        nextPress = now + press_ms;
      } else if (status !== "running" && status !== "disk_away") {
        await machine.resume();
      }
    } catch (error) {
      if (machine.isGone) return true;
      if (now >= limit || !options.goesOn()) return false;
      if (!(error instanceof Error)) throw error;
    }
    await options.pulse.wait(Math.min(1_000, Math.max(1, limit - performance.now())));
  }
}
