/**
 * Which Reed-Solomon code is for what. A bucket may have one of its own, all others have the node's.
 *
 * What is written keeps the code that it was written with, whatever is set later: an extent says its k and
 * m, an object or upload of a bucket with its own code says so in its meta. Small records are copied into
 * each of the k + m directories, which are at least m + 1: they are found wherever a body can be computed.
 * So one store holds bodies of many codes, and nothing may ask "the store's" for what stands already.
 */
import { type Code, codeName, directoriesOf } from "./code.ts";
import { ErasureCode } from "./erasure.ts";
import type { ObjectIndex } from "../index/object_index.ts";
import type { ObjectMeta } from "../index/rows.ts";

export class Codes {
  readonly #index: ObjectIndex;
  readonly #coders = new Map<string, ErasureCode>();

  /** @param usual the node's, for buckets without one of their own */
  constructor(index: ObjectIndex, readonly usual: Code) {
    this.#index = index;
  }

  /** What the bucket asks for by itself now, to be kept with what is written. */
  own(bucket: number): Code | undefined {
    return this.#index.settings.find(bucket).code;
  }

  /** What an object or upload was written with. */
  of({ code }: Pick<ObjectMeta, "code">): Code {
    return code ?? this.usual;
  }

  /** For a bucket's own records, which must outlive what is in it and what is usual. */
  ofBucketItself(own: Code | undefined): Code {
    if (own === undefined) return this.usual;
    const k = Math.max(own.k, this.usual.k);
    return { k, m: Math.max(directoriesOf(own), directoriesOf(this.usual)) - k };
  }

  /** What computes shards. */
  coder(k: number, m: number): ErasureCode {
    const name = codeName({ k, m });
    let coder = this.#coders.get(name);
    if (coder === undefined) this.#coders.set(name, coder = new ErasureCode(k, m));
    return coder;
  }
}

/** What a new object's meta says of the code that it is written with. */
export function withCode(meta: ObjectMeta, own: Code | undefined): ObjectMeta {
  return own === undefined ? meta : { ...meta, code: own };
}
