/**
 * A client of predastore's system door: whole objects by key, over HTTP on a Unix socket.
 *
 * Every call is safe to repeat: objects are immutable for those who use this door. A connection that
 * fails is an `ObjectStoreError` with status 503; the caller repeats it when it likes.
 */

export class ObjectStoreError extends Error {
  override readonly name = "ObjectStoreError";
  constructor(readonly status: number, message: string, cause?: unknown) {
    super(message, { cause });
  }
}

export class ObjectStore implements Disposable {
  readonly #client: Deno.HttpClient;
  readonly #bucket: string;

  /** @param socket path of the system door, `Paths.s3System` */
  constructor(socket: string, bucket: string) {
    this.#bucket = bucket;
    this.#client = Deno.createHttpClient({ proxy: { transport: "unix", path: socket } });
  }

  async #fetch(method: string, key: string, init: RequestInit = {}): Promise<Response> {
    const path = key.split("/").map(encodeURIComponent).join("/");
    try {
      return await fetch(`http://predastore/${this.#bucket}/${path}`, {
        ...init,
        method,
        client: this.#client,
      });
    } catch (cause) {
      throw new ObjectStoreError(503, `predastore did not answer ${method} ${key}`, cause);
    }
  }

  async #list(query: URLSearchParams): Promise<Response> {
    try {
      return await fetch(`http://predastore/${this.#bucket}?${query}`, { client: this.#client });
    } catch (cause) {
      throw new ObjectStoreError(503, "predastore did not answer a listing", cause);
    }
  }

  async #fail(response: Response, method: string, key: string): Promise<never> {
    throw new ObjectStoreError(
      response.status,
      `predastore answered ${response.status} to ${method} ${key}: ${
        (await response.text()).slice(0, 300)
      }`,
    );
  }

  /** Returns when the object is durable. */
  async put(key: string, body: Uint8Array<ArrayBuffer>): Promise<void> {
    const response = await this.#fetch("PUT", key, { body });
    if (!response.ok) await this.#fail(response, "PUT", key);
    await response.body?.cancel();
  }

  /** The object's bytes, or `length` of them from `offset`; undefined when there is no such object. */
  async get(
    key: string,
    range?: { readonly offset: number; readonly length: number },
  ): Promise<Uint8Array<ArrayBuffer> | undefined> {
    const response = await this.#fetch("GET", key, {
      headers: range === undefined
        ? {}
        : { range: `bytes=${range.offset}-${range.offset + range.length - 1}` },
    });
    if (response.status === 404) {
      await response.body?.cancel();
      return undefined;
    }
    if (!response.ok) await this.#fail(response, "GET", key);
    return new Uint8Array(await response.arrayBuffer());
  }

  /** Deleting what is not there is no error. */
  async delete(key: string): Promise<void> {
    const response = await this.#fetch("DELETE", key);
    if (!response.ok && response.status !== 404) await this.#fail(response, "DELETE", key);
    await response.body?.cancel();
  }

  /** Every key that starts with `prefix`, in order. */
  async *list(prefix: string): AsyncGenerator<string> {
    for (let after = "";;) {
      const query = new URLSearchParams({ "list-type": "2", prefix, "start-after": after });
      const response = await this.#list(query);
      if (!response.ok) await this.#fail(response, "LIST", prefix);
      const text = await response.text();
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
    this.#client.close();
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
