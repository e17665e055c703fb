/**
 * A client that costs as little as one can: requests are signed once and sent again as the same bytes
 * over kept TLS connections, and answers are read to their end without being looked at.
 *
 * `arrivals` sends at fixed moments, however long the answers take, and counts from the moment at
 * which a request should have been sent: a server that stalls is charged for everybody who waited.
 */
export interface Captured {
  readonly method: string;
  readonly path: string;
  readonly query?: Record<string, string>;
  readonly headers: Record<string, string>;
  readonly body?: string;
}

/** Signs a command as the SDK would, without sending it. */
export async function capture(send: (handler: unknown) => Promise<unknown>): Promise<Captured> {
  let captured: Captured | undefined;
  try {
    await send({
      handle: (request: Captured) => {
        captured = request;
        throw new Error("captured");
      },
    });
  } catch (error) {
    if (captured === undefined) throw error;
  }
  if (captured === undefined) throw new Error("nothing was sent");
  return captured;
}

const encoder = new TextEncoder();
const decoder = new TextDecoder("latin1");

export function rawRequest(request: Captured): Uint8Array {
  const headers = Object.entries({
    ...request.headers,
    "content-length": String(encoder.encode(request.body ?? "").length),
  }).map(([name, value]) => `${name}: ${value}\r\n`).join("");
  return encoder.encode(
    `${request.method} ${request.path} HTTP/1.1\r\n${headers}\r\n${request.body ?? ""}`,
  );
}

export interface Exchange {
  readonly ms: number;
  /** Of the body. */
  readonly bytes: number;
  /** The body; valid until the connection's next exchange. */
  text(): string;
}

/** One keep-alive connection that sends the same bytes again and reads whole answers. */
export class Connection implements Disposable {
  readonly #buffer = new Uint8Array(8 << 20);
  private constructor(readonly connection: Deno.TlsConn) {}

  static async open(port: number, ca: string): Promise<Connection> {
    const connection = await Deno.connectTls({ hostname: "localhost", port, caCerts: [ca] });
    return new Connection(connection);
  }

  /** @param started when the request should have been sent; now unless given */
  async exchange(request: Uint8Array, started = performance.now()): Promise<Exchange> {
    await this.connection.write(request);
    let have = 0;
    let end = -1;
    let length: number | undefined;
    for (;;) {
      const got = await this.connection.read(this.#buffer.subarray(have));
      if (got === null) throw new Error("the connection was closed");
      have += got;
      if (end < 0) {
        const head = decoder.decode(this.#buffer.subarray(0, Math.min(have, 8192)));
        end = head.indexOf("\r\n\r\n");
        if (end < 0) continue;
        const match = /content-length: (\d+)/i.exec(head.slice(0, end));
        length = match === null ? undefined : Number(match[1]);
      }
      const whole = length === undefined
        ? decoder.decode(this.#buffer.subarray(have - 5, have)) === "0\r\n\r\n"
        : have >= end + 4 + length;
      if (!whole) continue;
      const ms = performance.now() - started;
      const body = end + 4;
      const text = () => decoder.decode(this.#buffer.subarray(body, have));
      const status = decoder.decode(this.#buffer.subarray(0, 12));
      if (status !== "HTTP/1.1 200") throw new Error(status + text().slice(0, 500));
      return { ms, bytes: have - body, text };
    }
  }

  [Symbol.dispose](): void {
    this.connection.close();
  }
}

/** Latencies in ms, of requests that were due every `1000 / per_second` ms. */
export async function arrivals(
  connections: readonly Connection[],
  request: Uint8Array,
  { per_second, count }: { per_second: number; count: number },
): Promise<number[]> {
  const idle = [...connections];
  const waiting: ((connection: Connection) => void)[] = [];
  const times: number[] = [];
  const one = async (due: number) => {
    const connection = idle.pop() ??
      await new Promise<Connection>((resolve) => waiting.push(resolve));
    times.push((await connection.exchange(request, due)).ms);
    const next = waiting.shift();
    if (next === undefined) idle.push(connection);
    else next(connection);
  };
  const begun = performance.now();
  const running: Promise<void>[] = [];
  for (let number = 0; number < count; number++) {
    const due = begun + number * 1000 / per_second;
    const early = due - performance.now();
    if (early > 0) await new Promise((resolve) => setTimeout(resolve, early));
    running.push(one(due));
  }
  await Promise.all(running);
  return times;
}

export const at = (times: readonly number[], share: number): number =>
  [...times].sort((a, b) => a - b)[Math.min(times.length - 1, Math.floor(times.length * share))] ??
    NaN;
