/** Buckets in memory, for tests of those who read and write them on behalf of a caller. */
import { AwsError } from "../../services/aws/errors.ts";
import type { Delegator, ObjectPlace } from "../../services/compute/transfers/delegated_objects.ts";
import type { ObjectDoor } from "../../services/compute/transfers/transfer.ts";

const missing = (code: string) => new AwsError(code, `${code}.`, { status: 404 });

export class TestObjects implements ObjectDoor {
  /** Bucket to its owner's account. */
  readonly buckets = new Map<string, string>();
  /** By `bucket/key`. */
  readonly objects = new Map<string, Uint8Array>();
  /** Called before an object is read or written; what it throws is the answer. */
  before: (what: "download" | "upload", signal: AbortSignal) => void | Promise<void> = () => {};

  #of(who: Delegator, { bucket, key }: ObjectPlace): Uint8Array {
    this.#bucket(who, bucket);
    const found = this.objects.get(`${bucket}/${key}`);
    if (found === undefined) throw missing("NoSuchKey");
    return found;
  }

  #bucket({ account_id }: Delegator, bucket: string): void {
    const owner = this.buckets.get(bucket);
    if (owner === undefined) throw missing("NoSuchBucket");
    if (owner !== account_id) throw new AwsError("AccessDenied", "Access Denied", { status: 403 });
  }

  size(who: Delegator, place: ObjectPlace): Promise<number> {
    return Promise.try(() => this.#of(who, place).length);
  }

  checkBucket(who: Delegator, bucket: string): Promise<void> {
    return Promise.try(() => this.#bucket(who, bucket));
  }

  async download(
    who: Delegator,
    place: ObjectPlace,
    path: string,
    onBytes: (bytes: number) => void,
    signal: AbortSignal,
  ): Promise<void> {
    const bytes = this.#of(who, place);
    await this.before("download", signal);
    signal.throwIfAborted();
    await Deno.writeFile(path, bytes);
    onBytes(bytes.length);
  }

  remove(who: Delegator, { bucket, key }: ObjectPlace): Promise<void> {
    return Promise.try(() => {
      this.#bucket(who, bucket);
      this.objects.delete(`${bucket}/${key}`);
    });
  }

  async upload(
    who: Delegator,
    { bucket, key }: ObjectPlace,
    path: string,
    onBytes: (bytes: number) => void,
    signal: AbortSignal,
  ): Promise<void> {
    this.#bucket(who, bucket);
    await this.before("upload", signal);
    signal.throwIfAborted();
    const bytes = await Deno.readFile(path);
    this.objects.set(`${bucket}/${key}`, bytes);
    onBytes(bytes.length);
  }
}
