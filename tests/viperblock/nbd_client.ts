/**
 * An NBD client for tests: any number of requests under way on one connection, answered by cookie. It
 * believes nothing of the server beyond the protocol, and fails everything under way when the connection
 * ends.
 */

export class NbdFailure extends Error {
  override readonly name = "NbdFailure";
  /** @param code the server's error number, or 0 when the connection ended */
  constructor(readonly code: number) {
    super(code === 0 ? "the connection ended" : `the server answered error ${code}`);
  }
}

interface Pending {
  readonly length: number;
  resolve(data: Uint8Array): void;
  reject(error: NbdFailure): void;
}

export class NbdClient implements AsyncDisposable {
  readonly #connection: Deno.UnixConn;
  readonly #pending = new Map<bigint, Pending>();
  #cookie = 1n;
  #writing: Promise<unknown> = Promise.resolve();
  #buffer = new Uint8Array(0);
  #over = false;
  readonly #reading: Promise<void>;

  private constructor(connection: Deno.UnixConn, readonly size: number) {
    this.#connection = connection;
    this.#reading = this.#read();
  }

  static async connect(path: string, name: string): Promise<NbdClient> {
    const { connection, size } = await connectNbd(path, name);
    return new NbdClient(connection, size);
  }

  /** The connection itself, for tests that break the protocol. */
  get raw(): Deno.UnixConn {
    return this.#connection;
  }

  /** Settles when the connection has ended. */
  get ended(): Promise<void> {
    return this.#reading;
  }

  request(
    type: number,
    offset: number,
    length: number,
    data?: Uint8Array,
    flags = 0,
  ): Promise<Uint8Array> {
    const { promise, resolve, reject } = Promise.withResolvers<Uint8Array>();
    if (this.#over) {
      reject(new NbdFailure(0));
      return promise;
    }
    const cookie = this.#cookie++;
    this.#pending.set(cookie, { length: type === 0 ? length : 0, resolve, reject });
    const message = new Uint8Array(28 + (data?.length ?? 0));
    const view = new DataView(message.buffer);
    view.setUint32(0, 0x25609513);
    view.setUint16(4, flags);
    view.setUint16(6, type);
    view.setBigUint64(8, cookie);
    view.setBigUint64(16, BigInt(offset));
    view.setUint32(24, length);
    if (data !== undefined) message.set(data, 28);
    // A write that fails shows as the end of what is read.
    this.#writing = this.#writing.then(() => writeAll(this.#connection, message)).catch(() => {});
    return promise;
  }

  read(offset: number, length: number): Promise<Uint8Array> {
    return this.request(0, offset, length);
  }

  async write(offset: number, data: Uint8Array, fua = false): Promise<void> {
    await this.request(1, offset, data.length, data, fua ? 1 : 0);
  }

  async flush(): Promise<void> {
    await this.request(3, 0, 0);
  }

  async trim(offset: number, length: number): Promise<void> {
    await this.request(4, offset, length);
  }

  async zero(offset: number, length: number): Promise<void> {
    await this.request(6, offset, length);
  }

  async #read(): Promise<void> {
    try {
      for (;;) {
        const header = await this.#take(16);
        const view = new DataView(header.buffer, header.byteOffset);
        if (view.getUint32(0) !== 0x67446698) throw new Error("bad magic in a reply");
        const cookie = view.getBigUint64(8);
        const pending = this.#pending.get(cookie);
        if (pending === undefined) throw new Error("a reply that nobody asked for");
        this.#pending.delete(cookie);
        const code = view.getUint32(4);
        if (code !== 0) pending.reject(new NbdFailure(code));
        else pending.resolve(await this.#take(pending.length));
      }
    } catch {
      this.#over = true;
      for (const pending of this.#pending.values()) pending.reject(new NbdFailure(0));
      this.#pending.clear();
    }
  }

  async #take(length: number): Promise<Uint8Array> {
    while (this.#buffer.length < length) {
      const more = new Uint8Array(1 << 18);
      const got = await this.#connection.read(more);
      if (got === null) throw new Error("end");
      const joined = new Uint8Array(this.#buffer.length + got);
      joined.set(this.#buffer);
      joined.set(more.subarray(0, got), this.#buffer.length);
      this.#buffer = joined;
    }
    const taken = this.#buffer.slice(0, length);
    this.#buffer = this.#buffer.subarray(length);
    return taken;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#over = true;
    try {
      this.#connection.close();
    } catch (error) {
      if (!(error instanceof Deno.errors.BadResource)) throw error;
    }
    await this.#reading;
  }
}

/** A connection on which requests may be sent; nobody reads the answers. */
export async function connectNbd(
  path: string,
  name: string,
): Promise<{ readonly connection: Deno.UnixConn; readonly size: number }> {
  const connection = await Deno.connect({ transport: "unix", path });
  await readExactly(connection, 18);
  const title = new TextEncoder().encode(name);
  const request = new Uint8Array(20 + title.length);
  const view = new DataView(request.buffer);
  view.setUint32(0, 3);
  view.setBigUint64(4, 0x49484156454f5054n);
  view.setUint32(12, 1);
  view.setUint32(16, title.length);
  request.set(title, 20);
  await writeAll(connection, request);
  const answer = await readExactly(connection, 10);
  return { connection, size: Number(new DataView(answer.buffer).getBigUint64(0)) };
}

export async function writeAll(connection: Deno.Conn, bytes: Uint8Array): Promise<void> {
  for (let at = 0; at < bytes.length;) at += await connection.write(bytes.subarray(at));
}

export async function readExactly(
  connection: Deno.Conn,
  length: number,
): Promise<Uint8Array<ArrayBuffer>> {
  const bytes = new Uint8Array(length);
  for (let at = 0; at < length;) {
    const got = await connection.read(bytes.subarray(at));
    if (got === null) throw new Deno.errors.UnexpectedEof();
    at += got;
  }
  return bytes;
}
