/**
 * A client of predastore's system door: whole objects by key, over HTTP on a Unix socket.
 *
 * Every call is safe to repeat: objects are immutable for those who use this door. A connection that
 * fails is an `ObjectStoreError` with status 503; the caller repeats it when it likes. A kept
 * connection that the server has closed meanwhile is replaced once without a word. One on which nothing moves,
 * neither there nor back, is given up in the same way; what was asked may be done all the same, later. The client speaks
 * HTTP/1.1 itself: through `fetch` a 4 MiB object costs it three times the processor time, since each
 * piece of 64 KiB becomes an object of its own.
 */

export class ObjectStoreError extends Error {
  override readonly name = "ObjectStoreError";
  constructor(readonly status: number, message: string, cause?: unknown) {
    super(message, { cause });
  }
}

type Bytes = Uint8Array<ArrayBuffer>;

interface Reply {
  readonly status: number;
  readonly body: Bytes;
}

const encoder = new TextEncoder();
const decoder = new TextDecoder();
/** Fewer than its callers ask at once, and it would open connections over and over: a server takes a while for each. */
const mostIdle = 32;
const longestHead_bytes = 64 * 1024;
/** Nothing has moved for so long: the server is there, and will not answer. A card that syncs slowly takes less. */
const longestStall_ms = 60_000;
/** So often a connection is looked at in that time: while this process itself does not run, there are no looks. */
const looks = 10;

/** One connection, for one exchange after the other. */
class Connection {
  #used = false;
  /** Since the last look. */
  #hasMoved = true;
  #stillLooks = 0;
  #stalled = false;

  private constructor(readonly socket: Deno.UnixConn) {}

  static async open(path: string): Promise<Connection> {
    return new Connection(await Deno.connect({ transport: "unix", path }));
  }

  /** Whether it has carried an exchange before, so that the server may have closed it since. */
  get used(): boolean {
    return this.#used;
  }

  /** It was closed because nothing moved. */
  get stalled(): boolean {
    return this.#stalled;
  }

  /** To be called again and again during an exchange, which fails when it has come to a stop. */
  look(): void {
    this.#stillLooks = this.#hasMoved ? 0 : this.#stillLooks + 1;
    this.#hasMoved = false;
    if (this.#stillLooks < looks) return;
    this.#stalled = true;
    this.close();
  }

  /** @returns the reply, and whether the connection may be used again */
  async exchange(head: Bytes, body?: Bytes): Promise<Reply & { readonly again: boolean }> {
    this.#hasMoved = true;
    // An early refusal is read while the rest of the body is still being sent.
    const sent = this.#send(head, body);
    sent.catch(() => {});
    const reply = await this.#receive();
    await sent;
    this.#used = true;
    return reply;
  }

  async #send(head: Bytes, body?: Bytes): Promise<void> {
    for (const bytes of body === undefined ? [head] : [head, body]) {
      for (let at = 0; at < bytes.length;) {
        at += await this.socket.write(bytes.subarray(at));
        this.#hasMoved = true;
      }
    }
  }

  async #read(into: Bytes): Promise<number | null> {
    const count = await this.socket.read(into);
    this.#hasMoved = true;
    return count;
  }

  async #receive(): Promise<Reply & { readonly again: boolean }> {
    let buffer = new Uint8Array(16 * 1024);
    let held = 0;
    let end = -1;
    while (end < 0) {
      if (held === buffer.length) {
        if (held >= longestHead_bytes) throw new Error("the reply's head is too long");
        const larger = new Uint8Array(2 * held);
        larger.set(buffer);
        buffer = larger;
      }
      const count = await this.#read(buffer.subarray(held));
      if (count === null) throw new Error("the connection was closed");
      held += count;
      end = endOfHead(buffer, held);
    }
    const head = decoder.decode(buffer.subarray(0, end));
    const status = Number(/^HTTP\/1\.1 (\d{3})/.exec(head)?.[1]);
    const length = status === 204
      ? 0
      : Number(/^content-length: *(\d+)\r?$/im.exec(head)?.[1] ?? NaN);
    if (!(status > 0) || !(length >= 0)) throw new Error("the reply is not one of predastore's");
    const body = new Uint8Array(length);
    const early = buffer.subarray(end, Math.min(held, end + length));
    body.set(early);
    for (let at = early.length; at < length;) {
      const count = await this.#read(body.subarray(at));
      if (count === null) throw new Error("the reply was cut off");
      at += count;
    }
    return { status, body, again: !/^connection: *close/im.test(head) };
  }

  close(): void {
    try {
      this.socket.close();
    } catch {
      // It was closed already.
    }
  }
}

/** Where the body begins, or -1. */
function endOfHead(buffer: Bytes, held: number): number {
  for (let at = 3; at < held; at++) {
    if (buffer[at] === 10 && buffer[at - 1] === 13 && buffer[at - 2] === 10) return at + 1;
  }
  return -1;
}

export class ObjectStore implements Disposable {
  readonly #socket: string;
  readonly #bucket: string;
  readonly #idle: Connection[] = [];
  readonly #busy = new Set<Connection>();
  readonly #stall_ms: number;
  /** Looks at the busy ones, while there are any. */
  #looking: ReturnType<typeof setInterval> | undefined;
  #closed = false;

  /**
   * @param socket path of the system door, `Paths.s3System`
   * @param options.stall_ms how long nothing may move before a call fails; 60 s unless given
   */
  constructor(socket: string, bucket: string, options: { readonly stall_ms?: number } = {}) {
    this.#socket = socket;
    this.#bucket = bucket;
    this.#stall_ms = options.stall_ms ?? longestStall_ms;
  }

  #begin(connection: Connection): void {
    this.#busy.add(connection);
    this.#looking ??= setInterval(() => {
      for (const each of this.#busy) each.look();
    }, this.#stall_ms / looks);
  }

  #end(connection: Connection): void {
    this.#busy.delete(connection);
    if (this.#busy.size > 0) return;
    clearInterval(this.#looking);
    this.#looking = undefined;
  }

  async #ask(method: string, target: string, headers = "", body?: Bytes): Promise<Reply> {
    const length = body === undefined ? "" : `content-length: ${body.length}\r\n`;
    const head = encoder.encode(
      `${method} /${this.#bucket}${target} HTTP/1.1\r\nhost: predastore\r\n${length}${headers}\r\n`,
    );
    while (true) {
      if (this.#closed) throw new ObjectStoreError(503, "the object store's client is closed");
      let connection = this.#idle.pop();
      try {
        connection ??= await Connection.open(this.#socket);
        this.#begin(connection);
        const { again, ...reply } = await connection.exchange(head, body);
        this.#end(connection);
        if (again && !this.#closed && this.#idle.length < mostIdle) this.#idle.push(connection);
        else connection.close();
        return reply;
      } catch (cause) {
        if (connection !== undefined) {
          this.#end(connection);
          connection.close();
          // One that stood still was not closed: whoever asked decides whether it is to be done twice.
          if (connection.used && !connection.stalled) continue;
        }
        const how = connection?.stalled === true
          ? `: nothing has moved for ${this.#stall_ms / 1000} s`
          : "";
        throw new ObjectStoreError(
          503,
          `predastore did not answer ${method} ${target}${how}`,
          cause,
        );
      }
    }
  }

  #fail(reply: Reply, method: string, key: string): never {
    throw new ObjectStoreError(
      reply.status,
      `predastore answered ${reply.status} to ${method} ${key}: ${
        decoder.decode(reply.body.subarray(0, 300))
      }`,
    );
  }

  #target(key: string): string {
    return "/" + key.split("/").map(encodeURIComponent).join("/");
  }

  /** Returns when the object is durable. */
  async put(key: string, body: Uint8Array<ArrayBuffer>): Promise<void> {
    const reply = await this.#ask("PUT", this.#target(key), "", body);
    if (reply.status !== 200) this.#fail(reply, "PUT", key);
  }

  /** The object's bytes, or `length` of them from `offset`; undefined when there is no such object. */
  async get(
    key: string,
    range?: { readonly offset: number; readonly length: number },
  ): Promise<Uint8Array<ArrayBuffer> | undefined> {
    const reply = await this.#ask(
      "GET",
      this.#target(key),
      range === undefined
        ? ""
        : `range: bytes=${range.offset}-${range.offset + range.length - 1}\r\n`,
    );
    if (reply.status === 404) return undefined;
    if (reply.status !== 200 && reply.status !== 206) this.#fail(reply, "GET", key);
    return reply.body;
  }

  /** Deleting what is not there is no error. */
  async delete(key: string): Promise<void> {
    const reply = await this.#ask("DELETE", this.#target(key));
    if (reply.status !== 204 && reply.status !== 404) this.#fail(reply, "DELETE", key);
  }

  /** Every key that starts with `prefix`, in order. */
  async *list(prefix: string): AsyncGenerator<string> {
    for (let after = "";;) {
      const query = new URLSearchParams({ "list-type": "2", prefix, "start-after": after });
      const reply = await this.#ask("GET", `?${query}`);
      if (reply.status !== 200) this.#fail(reply, "LIST", prefix);
      const text = decoder.decode(reply.body);
      let last = "";
      for (const match of text.matchAll(/<Key>([^<]*)<\/Key>/g)) {
        last = unescapeXml(match[1] ?? "");
        yield last;
      }
      if (last === "" || !text.includes("<IsTruncated>true</IsTruncated>")) return;
      after = last;
    }
  }

  [Symbol.dispose](): void {
    this.#closed = true;
    for (const connection of [...this.#idle, ...this.#busy]) connection.close();
    this.#idle.length = 0;
  }
}

const entities: Readonly<Record<string, string>> = {
  "&lt;": "<",
  "&gt;": ">",
  "&quot;": '"',
  "&apos;": "'",
  "&amp;": "&",
};

function unescapeXml(text: string): string {
  return text.replace(
    /&(?:lt|gt|quot|apos|amp|#x?[0-9a-fA-F]+);/g,
    (entity) =>
      entities[entity] ??
        String.fromCodePoint(
          entity[2] === "x" ? parseInt(entity.slice(3), 16) : parseInt(entity.slice(2), 10),
        ),
  );
}
