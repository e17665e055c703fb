/**
 * The bodies that are being received. `Deno.serve` reads no more of them once it is told to shut down, so a stop waits for
 * their end first.
 */
export class ArrivingBodies {
  #count = 0;
  #none = Promise.withResolvers<void>();

  /** @returns what is called once the body is read, or never will be; more than once is no error */
  begin({ method, headers }: Pick<Request, "method" | "headers">): () => void {
    // Over HTTP/2 a body needs no header that tells of it.
    const has = method !== "GET" && method !== "HEAD" && headers.get("content-length") !== "0";
    if (!has) return () => {};
    this.#count++;
    let over = false;
    return () => {
      if (over) return;
      over = true;
      this.#count--;
      if (this.#count === 0) this.#none.resolve();
    };
  }

  /** Waits until none is left. */
  async ended(): Promise<void> {
    while (this.#count > 0) {
      this.#none = Promise.withResolvers<void>();
      await this.#none.promise;
    }
  }
}
