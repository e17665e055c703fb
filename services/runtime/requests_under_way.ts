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
  #count = 0;

  get count(): number {
    return this.#count;
  }

  /** Whether a connection that came from the client's port is being answered. */
  onPort(port: number): boolean {
    return this.#onPort.has(port);
  }

  /** The handler, with each of its requests counted here while it is under way. */
  following<Info extends Told, Answer>(
    handler: (request: Request, info: Info) => Answer,
  ): (request: Request, info: Info) => Answer {
    return (request, info) => {
      this.#follow(info);
      return handler(request, info);
    };
  }

  #follow({ remoteAddr, completed }: Told): void {
    const port = "port" in remoteAddr ? remoteAddr.port : 0;
    this.#onPort.set(port, (this.#onPort.get(port) ?? 0) + 1);
    this.#count++;
    const ended = () => this.#end(port);
    completed.then(ended, ended);
  }

  #end(port: number): void {
    this.#count--;
    const left = (this.#onPort.get(port) ?? 0) - 1;
    if (left > 0) this.#onPort.set(port, left);
    else this.#onPort.delete(port);
  }
}
