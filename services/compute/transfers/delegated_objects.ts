/**
 * Objects of an account's buckets, read and written on behalf of a caller: through predastore's delegate
 * door, where the caller's own policies and the bucket's decide, as if the caller had come himself.
 *
 * Disk images pass in pieces: memory depends on none of them. An upload that fails is given up, so that no
 * part of it stays; its last step is not cut short by its caller, so that what was written is known.
 */
import { AwsError, unavailable } from "../../aws/errors.ts";
import { delegateHeaders } from "../../predastore/contract.ts";

/** Whose policies decide. */
export interface Delegator {
  readonly account_id: string;
  readonly principal_arn: string;
  readonly access_key_id: string;
}

export interface ObjectPlace {
  readonly bucket: string;
  readonly key: string;
}

const smallestPart_bytes = 16 << 20;
const mostParts = 9_000;
const completing_ms = 60_000;
const removing_ms = 30_000;

/** Each part of a path escaped by itself; what a URL would normalise stays as it is in the header. */
const targetOf = ({ bucket, key }: ObjectPlace) =>
  `/${[bucket, ...key.split("/")].map((part) => encodeURIComponent(part)).join("/")}`;

const isTimeout = ({ reason }: AbortSignal) =>
  reason instanceof DOMException && reason.name === "TimeoutError";

/** In a list that encodes keys as forms do. */
const keyIn = (xml: string) =>
  decodeURIComponent((/<Key>([^<]*)</.exec(xml)?.[1] ?? "").replaceAll("+", " "));

const codeIn = (xml: string) => /<Code>([^<]+)<\/Code>/.exec(xml)?.[1];

export class DelegatedObjects implements Disposable {
  readonly #client: Deno.HttpClient;

  /** @param socket path of the delegate door */
  constructor(socket: string) {
    this.#client = Deno.createHttpClient({ proxy: { transport: "unix", path: socket } });
  }

  async #ask(
    who: Delegator,
    method: string,
    target: string,
    signal: AbortSignal,
    body?: Uint8Array<ArrayBuffer>,
  ): Promise<Response> {
    let reply: Response;
    try {
      reply = await fetch("http://predastore/", {
        method,
        headers: {
          [delegateHeaders.accountId]: who.account_id,
          [delegateHeaders.principalArn]: who.principal_arn,
          [delegateHeaders.accessKeyId]: who.access_key_id,
          [delegateHeaders.target]: target,
        },
        ...(body === undefined ? {} : { body }),
        signal,
        client: this.#client,
      });
    } catch (cause) {
      if (!isTimeout(signal)) signal.throwIfAborted();
      throw unavailable("predastore", cause);
    }
    if (reply.ok) return reply;
    const text = await reply.text();
    const usual = reply.status === 404 ? "NoSuchKey" : reply.status === 403 ? "AccessDenied" : "";
    const code = codeIn(text) ?? usual;
    if (reply.status >= 500) throw unavailable(`The object store (${code})`);
    throw new AwsError(code === "" ? "InvalidRequest" : code, `${code} of ${target}`, {
      status: reply.status,
    });
  }

  /** The object's size. @throws AwsError in S3's codes */
  async size(who: Delegator, place: ObjectPlace, signal: AbortSignal): Promise<number> {
    const reply = await this.#ask(who, "HEAD", targetOf(place), signal);
    await reply.body?.cancel();
    return Number(reply.headers.get("content-length") ?? 0);
  }

  /** Whether the bucket is there and the caller may look into it. @throws AwsError in S3's codes */
  async checkBucket(who: Delegator, bucket: string, signal: AbortSignal): Promise<void> {
    const reply = await this.#ask(who, "HEAD", `/${encodeURIComponent(bucket)}`, signal);
    await reply.body?.cancel();
  }

  /** Writes the object into a new file. @throws AwsError in S3's codes */
  async download(
    who: Delegator,
    place: ObjectPlace,
    path: string,
    onBytes: (bytes: number) => void,
    signal: AbortSignal,
  ): Promise<void> {
    const reply = await this.#ask(who, "GET", targetOf(place), signal);
    const expected = Number(reply.headers.get("content-length") ?? NaN);
    using file = await Deno.open(path, { create: true, write: true, truncate: true, mode: 0o600 });
    let written = 0;
    for await (const piece of reply.body ?? []) {
      for (let at = 0; at < piece.length;) at += await file.write(piece.subarray(at));
      written += piece.length;
      onBytes(written);
    }
    signal.throwIfAborted();
    if (Number.isFinite(expected) && written !== expected) {
      throw unavailable("The object store, in the middle of an object,");
    }
  }

  /**
   * Removes an object that may not be there; in a bucket with versions each of it, the newest first.
   * @throws AwsError in S3's codes
   */
  async remove(who: Delegator, place: ObjectPlace, signal: AbortSignal): Promise<void> {
    const bounded = AbortSignal.any([signal, AbortSignal.timeout(removing_ms)]);
    const target = targetOf(place);
    await this.#giveUpUploads(who, place, bounded);
    for (;;) {
      const seen = await this.#newest(who, target, bounded);
      if (seen === "none") return;
      const { version } = seen;
      const query = version === null ? "" : `?versionId=${encodeURIComponent(version)}`;
      const done = await this.#ask(who, "DELETE", `${target}${query}`, bounded);
      await done.body?.cancel();
      if (version === null) return;
    }
  }

  /** Gives up uploads of the object that a process began and died with. Who may not list or end them leaves them. */
  async #giveUpUploads(who: Delegator, place: ObjectPlace, signal: AbortSignal): Promise<void> {
    const { bucket, key } = place;
    const query = `uploads=&encoding-type=url&prefix=${encodeURIComponent(key)}`;
    try {
      const listed = await this.#ask(who, "GET", `/${encodeURIComponent(bucket)}?${query}`, signal);
      for (const [, upload = ""] of (await listed.text()).matchAll(/<Upload>(.*?)<\/Upload>/gs)) {
        if (keyIn(upload) !== key) continue;
        const id = encodeURIComponent(/<UploadId>([^<]+)</.exec(upload)?.[1] ?? "");
        const ended = await this.#ask(who, "DELETE", `${targetOf(place)}?uploadId=${id}`, signal);
        await ended.body?.cancel();
      }
    } catch (error) {
      if (!(error instanceof AwsError) || error.status >= 500) throw error;
    }
  }

  /** Its version is null in a bucket that has none, and for who may not look but may be allowed to remove. */
  async #newest(
    who: Delegator,
    target: string,
    signal: AbortSignal,
  ): Promise<{ readonly version: string | null } | "none"> {
    try {
      const seen = await this.#ask(who, "HEAD", target, signal);
      await seen.body?.cancel();
      return { version: seen.headers.get("x-amz-version-id") };
    } catch (error) {
      if (!(error instanceof AwsError) || error.status >= 500) throw error;
      return error.status === 404 ? "none" : { version: null };
    }
  }

  /** Writes a file as an object, in parts. @throws AwsError in S3's codes, and leaves no part */
  async upload(
    who: Delegator,
    place: ObjectPlace,
    path: string,
    onBytes: (bytes: number) => void,
    signal: AbortSignal,
  ): Promise<void> {
    const target = targetOf(place);
    await this.#giveUpUploads(who, place, signal);
    const begun = await this.#ask(who, "POST", `${target}?uploads=`, signal);
    const id = /<UploadId>([^<]+)<\/UploadId>/.exec(await begun.text())?.[1];
    if (id === undefined) throw unavailable("The object store");
    const upload = `uploadId=${encodeURIComponent(id)}`;
    try {
      using file = await Deno.open(path, { read: true });
      const { size } = await file.stat();
      const length = Math.max(smallestPart_bytes, Math.ceil(size / mostParts));
      const buffer = new Uint8Array(length);
      const parts: string[] = [];
      for (let at = 0; at < size || parts.length === 0;) {
        let filled = 0;
        while (filled < length) {
          const count = await file.read(buffer.subarray(filled));
          if (count === null) break;
          filled += count;
        }
        const number = parts.length + 1;
        const reply = await this.#ask(
          who,
          "PUT",
          `${target}?partNumber=${number}&${upload}`,
          signal,
          buffer.subarray(0, filled),
        );
        await reply.body?.cancel();
        const etag = (reply.headers.get("etag") ?? "").replaceAll('"', "");
        parts.push(`<Part><PartNumber>${number}</PartNumber><ETag>"${etag}"</ETag></Part>`);
        at += filled;
        onBytes(at);
        if (filled === 0) break;
      }
      const document = `<CompleteMultipartUpload>${parts.join("")}</CompleteMultipartUpload>`;
      const done = await this.#ask(
        who,
        "POST",
        `${target}?${upload}`,
        AbortSignal.timeout(completing_ms),
        new TextEncoder().encode(document),
      );
      const code = codeIn(await done.text());
      if (code !== undefined) throw unavailable(`The object store (${code})`);
    } catch (error) {
      await this.#ask(who, "DELETE", `${target}?${upload}`, AbortSignal.timeout(10_000))
        .then((reply) => reply.body?.cancel()).catch(() => {});
      throw error;
    }
  }

  [Symbol.dispose](): void {
    this.#client.close();
  }
}
