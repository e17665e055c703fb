/** Work that nobody waits for: what fails is logged, and who stops waits for all of it. */
import { errorFields, type Log } from "../log/log.ts";

export class Background {
  readonly #work = new Set<Promise<void>>();

  constructor(readonly log: Log) {}

  /** @param failure the event that is logged when it fails */
  begin(failure: string, fields: object, does: () => Promise<unknown>): void {
    const work: Promise<void> = Promise.try(does).then(() => {})
      .catch((error) => this.log.warn(failure, { ...fields, ...errorFields(error) }))
      .finally(() => this.#work.delete(work));
    this.#work.add(work);
  }

  /** What is under way may begin more. */
  async settled(): Promise<void> {
    while (this.#work.size > 0) await Promise.allSettled([...this.#work]);
  }
}
