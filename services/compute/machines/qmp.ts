/**
 * A client of QEMU's machine protocol: JSON lines over a Unix socket.
 *
 * QEMU serves one client at a time: a second one connects but hears no greeting until the first has
 * left, so every wait here has a bound. Events that happen while nobody is connected are lost; who
 * connects must read the state (`query-status`) and not wait for an event. When the connection
 * ends, every command under way fails with `QmpClosed` and `closed` resolves; whether QEMU itself
 * ended is told by the next connect.
 */

/** QEMU refused a command. */
export class QmpError extends Error {
  override readonly name = "QmpError";
  constructor(readonly command: string, readonly errorClass: string, description: string) {
    super(`${command}: ${description}`);
  }
}

/** The connection ended, or never came about, before the answer. */
export class QmpClosed extends Error {
  override readonly name = "QmpClosed";
}

/** QEMU did not answer within the bound: it hangs, or somebody else holds the socket. */
export class QmpTimeout extends Error {
  override readonly name = "QmpTimeout";
}

export interface QmpEvent {
  readonly event: string;
  readonly data: Readonly<Record<string, unknown>>;
}

interface Pending {
  readonly command: string;
  resolve(value: unknown): void;
  reject(error: Error): void;
}

type Line = {
  readonly QMP?: unknown;
  readonly id?: number;
  readonly return?: unknown;
  readonly error?: { readonly class: string; readonly desc: string };
  readonly event?: string;
  readonly data?: Record<string, unknown>;
};

/** No answer of QEMU that we ask for is longer; a line beyond it is a fault, not a message. */
const maxLine_bytes = 8 << 20;
const defaultTimeout_ms = 10_000;

export class QmpClient implements AsyncDisposable {
  readonly #connection: Deno.UnixConn;
  readonly #pending = new Map<number, Pending>();
  readonly #listeners = new Set<(event: QmpEvent) => void>();
  readonly #greeting = Promise.withResolvers<void>();
  readonly #closed = Promise.withResolvers<void>();
  readonly #reader: Promise<void>;
  #writing: Promise<unknown> = Promise.resolve();
  #nextId = 1;
  #ended = false;

  private constructor(connection: Deno.UnixConn) {
    this.#connection = connection;
    this.#reader = this.#read();
  }

  /**
   * Connects and leaves negotiation behind.
   * @throws Deno.errors.NotFound, Deno.errors.ConnectionRefused when no QEMU listens there
   * @throws QmpTimeout when it listens and does not greet
   */
  static async connect(path: string, timeout_ms = 5_000): Promise<QmpClient> {
    const client = new QmpClient(await Deno.connect({ transport: "unix", path }));
    try {
      await within(timeout_ms, client.#greeting.promise, "the greeting");
      await client.execute("qmp_capabilities", {}, timeout_ms);
      return client;
    } catch (error) {
      await client[Symbol.asyncDispose]();
      throw error;
    }
  }

  /** Resolves when the connection has ended, whoever ended it. */
  get closed(): Promise<void> {
    return this.#closed.promise;
  }

  /** Runs a command. @throws QmpError, QmpClosed, QmpTimeout */
  async execute<T = unknown>(
    command: string,
    args: Readonly<Record<string, unknown>> = {},
    timeout_ms = defaultTimeout_ms,
  ): Promise<T> {
    if (this.#ended) throw new QmpClosed(`${command}: the connection has ended`);
    const id = this.#nextId++;
    const answer = Promise.withResolvers<unknown>();
    this.#pending.set(id, { command, resolve: answer.resolve, reject: answer.reject });
    const line = new TextEncoder().encode(
      `${JSON.stringify({ execute: command, arguments: args, id })}\n`,
    );
    this.#writing = this.#writing.then(() => this.#write(line)).catch(() => this.#end());
    try {
      return await within(timeout_ms, answer.promise, command) as T;
    } finally {
      this.#pending.delete(id);
    }
  }

  /** Hears every event from now on; call the result to stop. */
  onEvent(listener: (event: QmpEvent) => void): () => void {
    this.#listeners.add(listener);
    return () => this.#listeners.delete(listener);
  }

  async #write(bytes: Uint8Array): Promise<void> {
    for (let at = 0; at < bytes.length;) {
      at += await this.#connection.write(bytes.subarray(at));
    }
  }

  async #read(): Promise<void> {
    const decoder = new TextDecoder();
    const buffer = new Uint8Array(64 << 10);
    let text = "";
    try {
      for (;;) {
        const count = await this.#connection.read(buffer);
        if (count === null) break;
        text += decoder.decode(buffer.subarray(0, count), { stream: true });
        const lines = text.split("\n");
        text = lines.pop() ?? "";
        for (const line of lines) this.#hear(line);
        if (text.length > maxLine_bytes) break;
      }
    } catch {
      // A reset is how QEMU's exit looks at times; it ends the connection like any other end.
    } finally {
      this.#end();
    }
  }

  #hear(line: string): void {
    if (line.trim() === "") return;
    const message = JSON.parse(line) as Line;
    if (message.QMP !== undefined) return this.#greeting.resolve();
    if (message.event !== undefined) {
      const event = { event: message.event, data: message.data ?? {} };
      for (const listener of this.#listeners) listener(event);
      return;
    }
    const pending = message.id === undefined ? undefined : this.#pending.get(message.id);
    if (pending === undefined) return;
    if (message.error === undefined) pending.resolve(message.return);
    else pending.reject(new QmpError(pending.command, message.error.class, message.error.desc));
  }

  #end(): void {
    if (this.#ended) return;
    this.#ended = true;
    try {
      this.#connection.close();
    } catch {
      // Already closed by the other side's reset.
    }
    this.#greeting.promise.catch(() => {});
    this.#greeting.reject(new QmpClosed("QEMU closed the connection before its greeting"));
    for (const { command, reject } of this.#pending.values()) {
      reject(new QmpClosed(`${command}: QEMU closed the connection`));
    }
    this.#pending.clear();
    this.#closed.resolve();
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#end();
    await this.#reader;
  }
}

async function within<T>(timeout_ms: number, promise: Promise<T>, what: string): Promise<T> {
  let timer: ReturnType<typeof setTimeout> | undefined;
  const late = new Promise<never>((_, reject) => {
    timer = setTimeout(
      () => reject(new QmpTimeout(`QEMU did not answer ${what} within ${timeout_ms} ms`)),
      timeout_ms,
    );
  });
  try {
    return await Promise.race([promise, late]);
  } finally {
    clearTimeout(timer);
  }
}
