/** Wakes a volume's loop after some time, for what waits and hears of nothing. */
import type { Memory } from "../../../ffi/libc.ts";
import { ringOperations } from "../../../ffi/liburing.ts";
import type { Machine } from "../machine/machine.ts";

const tickMs = 200;
/** When a request waits for its volume's limits. */
const throttledTickMs = 5;

export class Ticker {
  readonly #ring: Machine["ring"];
  readonly #control: Memory;
  readonly #kind: number;
  #underWay = false;

  constructor(machine: Machine, ticked: () => void = () => {}) {
    this.#ring = machine.ring;
    this.#control = machine.memory(4096, { populate: true });
    this.#kind = this.#ring.kind(() => {
      this.#underWay = false;
      ticked();
    });
  }

  /** Unless it does so already. @param soon a request waits for its volume's limits */
  start(soon: boolean): void {
    if (this.#underWay) return;
    this.#underWay = true;
    // struct __kernel_timespec at the start of the control page.
    const words = new Int32Array(this.#control.buffer, 0, 4);
    words[0] = 0;
    words[2] = (soon ? throttledTickMs : tickMs) * 1_000_000;
    this.#ring.queue(ringOperations.timeout, -1, 0, this.#control.address, 1, 0, this.#kind, 0);
  }
}
