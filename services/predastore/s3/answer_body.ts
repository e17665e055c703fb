/**
 * The body of an answer, read on as its client takes it.
 *
 * Compaction keeps segments for those who read from them, so a client that takes nothing for ten minutes is cut off:
 * one that has stopped would keep the space of all that is deleted.
 */
import type { Bytes } from "../index/columns.ts";

const slowestTake_ms = 600_000;

export interface AnswerParts {
  /** Was read already. */
  readonly first: Bytes;
  /** What follows. */
  readonly pieces: AsyncGenerator<Bytes>;
  /** The answer is broken off, and why. */
  readonly failed: (error: unknown) => void;
  readonly slowest_ms?: number;
}

export function answerBody(
  { first, pieces, failed, slowest_ms = slowestTake_ms }: AnswerParts,
): ReadableStream<Bytes> {
  let ready: Bytes | undefined = first;
  let timer: ReturnType<typeof setTimeout> | undefined;
  const wait = (controller: ReadableStreamDefaultController<Bytes>) => {
    timer = setTimeout(() => {
      const error = new Error(`the client has taken nothing for ${slowest_ms / 1000} s`);
      failed(error);
      controller.error(error);
      void pieces.return(undefined);
    }, slowest_ms);
  };
  return new ReadableStream<Bytes>({
    start: wait,
    async pull(controller) {
      clearTimeout(timer);
      try {
        const { value, done } = ready === undefined
          ? await pieces.next()
          : { value: ready, done: false };
        ready = undefined;
        if (done === true) return controller.close();
        controller.enqueue(value);
        wait(controller);
      } catch (error) {
        // The status is sent already: breaking off is the only honest answer.
        failed(error);
        controller.error(error);
      }
    },
    async cancel() {
      clearTimeout(timer);
      await pieces.return(undefined);
    },
  }, { highWaterMark: 0 });
}
