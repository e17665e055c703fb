/** One writer at a time for each name, in the order they came; nothing is kept for idle names. */
export class KeyLocks {
  readonly #tails = new Map<string, Promise<void>>();

  async run<T>(name: string, work: () => Promise<T>): Promise<T> {
    const before = this.#tails.get(name);
    const mine = Promise.withResolvers<void>();
    this.#tails.set(name, mine.promise);
    await before;
    try {
      return await work();
    } finally {
      if (this.#tails.get(name) === mine.promise) this.#tails.delete(name);
      mine.resolve();
    }
  }
}
