/**
 * The requests that a door is answering now, from their first line until the last byte of the answer has gone, by the
 * client's port: so the kernel's view of a connection and the server's of its requests can be brought together.
 *
 * Two clients of different addresses may have the same port. Whoever is told of here is only ended later than others,
 * so that needs no more to tell them apart.
 */

/** Of what `Deno.serve` tells a handler. */
type Told = Pick<Deno.ServeHandlerInfo, "remoteAddr" | "completed">;

export class RequestsUnderWay {
  readonly #onPort = new Map<number, number>();
  readonly #ended = Promise.withResolvers<void>();
  #count = 0;
  /** What comes afterwards is refused at once, and not waited for. */
  #closing = false;

  get count(): number {
    return this.#count;
  }

  /** Whether a connection that came from the client's port is being answered. */
  onPort(port: number): boolean {
    return this.#onPort.has(port);
  }

  /** Waits for the end of all that are under way now. */
  async ended(): Promise<void> {
    this.#closing = true;
    if (this.#count === 0) this.#ended.resolve();
    await this.#ended.promise;
  }

  /** The handler, with each of its requests counted here while it is under way. */
  following<Info extends Told, Answer>(
    handler: (request: Request, info: Info) => Answer,
  ): (request: Request, info: Info) => Answer {
    return (request, info) => {
      if (!this.#closing) this.#follow(info);
      return handler(request, info);
    };
  }

  #follow({ remoteAddr, completed }: Told): void {
    const port = "port" in remoteAddr ? remoteAddr.port : undefined;
    if (port !== undefined) this.#onPort.set(port, (this.#onPort.get(port) ?? 0) + 1);
    this.#count++;
    const ended = () => this.#end(port);
    completed.then(ended, ended);
  }

  #end(port: number | undefined): void {
    this.#count--;
    if (this.#closing && this.#count === 0) this.#ended.resolve();
    if (port === undefined) return;
    const left = (this.#onPort.get(port) ?? 0) - 1;
    if (left > 0) this.#onPort.set(port, left);
    else this.#onPort.delete(port);
  }
}
