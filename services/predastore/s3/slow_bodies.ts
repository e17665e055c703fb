import type { BodyWatch } from "./call.ts";

const slowestChunk_ms = 60_000;

/** Cuts off bodies that do not move; one timer for all of them. */
export class SlowBodies implements BodyWatch, Disposable {
  readonly #bodies = new Set<{ last_ms: number; readonly stop: () => void }>();
  readonly #timer: ReturnType<typeof setInterval>;

  constructor(limit_ms = slowestChunk_ms) {
    this.#timer = setInterval(() => {
      const oldest = performance.now() - limit_ms;
      for (const body of this.#bodies) if (body.last_ms < oldest) body.stop();
    }, limit_ms / 4);
  }

  begin(stop: () => void) {
    const body = { last_ms: performance.now(), stop };
    this.#bodies.add(body);
    return {
      progress: () => {
        body.last_ms = performance.now();
      },
      end: () => {
        this.#bodies.delete(body);
      },
    };
  }

  [Symbol.dispose](): void {
    clearInterval(this.#timer);
  }
}
