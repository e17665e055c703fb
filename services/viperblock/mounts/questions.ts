/**
 * Questions to a volume's worker. Those of one kind are answered in the order in which they were asked; when the worker
 * has ended there is no answer any more, and nobody waits for one.
 */
import type { FromWorker, HeldChunks, ToWorker, VolumeStatistics } from "./mailbox.ts";

/** By the kind of message that answers. */
interface Answers {
  readonly resized: true;
  readonly sync_mode_set: true;
  readonly unshared: true;
  /** Whether there is one. */
  readonly checkpointed: boolean;
  readonly held: HeldChunks;
  readonly report: VolumeStatistics;
  /** `undefined` while there is more to look at. */
  readonly audited: { readonly wrong: readonly string[] | undefined };
}

export class Questions {
  readonly #send: (question: ToWorker) => void;
  readonly #waiting = new Map<keyof Answers, ((answer: unknown) => void)[]>();
  #isOver = false;

  constructor(send: (question: ToWorker) => void) {
    this.#send = send;
  }

  /** @returns undefined when the worker has ended */
  async ask<Kind extends keyof Answers>(
    kind: Kind,
    question: ToWorker,
  ): Promise<Answers[Kind] | undefined> {
    if (this.#isOver) return undefined;
    const { promise, resolve } = Promise.withResolvers<Answers[Kind] | undefined>();
    const waiting = this.#waiting.get(kind) ?? [];
    waiting.push(resolve as (answer: unknown) => void);
    this.#waiting.set(kind, waiting);
    this.#send(question);
    return await promise;
  }

  /** Takes the message if it is an answer. */
  take(message: FromWorker): boolean {
    switch (message.kind) {
      case "resized":
      case "sync_mode_set":
      case "unshared":
        this.#answer(message.kind, true);
        return true;
      case "checkpointed":
        this.#answer(message.kind, message.ok);
        return true;
      case "held":
      case "audited":
        this.#answer(message.kind, message);
        return true;
      case "report":
        this.#answer(message.kind, message.statistics);
        return true;
      default:
        return false;
    }
  }

  #answer<Kind extends keyof Answers>(kind: Kind, answer: Answers[Kind]): void {
    this.#waiting.get(kind)?.shift()?.(answer);
  }

  /** The worker has ended. */
  end(): void {
    this.#isOver = true;
    for (const waiting of this.#waiting.values()) {
      for (const resolve of waiting) resolve(undefined);
    }
    this.#waiting.clear();
  }
}
