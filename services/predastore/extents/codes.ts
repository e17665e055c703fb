/**
 * Which Reed-Solomon code is for what. A bucket may have one of its own, all others have the node's.
 *
 * What is written keeps the code that it was written with, whatever is set later: an extent says its k and
 * m, an object or upload of a bucket with its own code says so in its meta. Small records are copied into
 * each of the k + m directories, which are at least m + 1: they are found wherever a body can be computed.
 * So one store holds bodies of many codes, and nothing may ask "the store's" for what stands already.
 */
import { AwsError } from "../../aws/errors.ts";
import { ErasureCode } from "./erasure.ts";
import type { ObjectIndex } from "../index/object_index.ts";
import type { ObjectMeta } from "../index/rows.ts";

/** k data and m parity shards for each stripe. */
export interface Code {
  readonly k: number;
  readonly m: number;
}

/** Directories that a body of this code is spread over, and copies of each of its records. */
export const directoriesOf = ({ k, m }: Code): number => k + m;

/** `2+1`, as it is asked for and told. */
export const codeName = ({ k, m }: Code): string => `${k}+${m}`;

/**
 * @param directories that the store has
 * @throws AwsError `InvalidArgument`, saying what would be one
 */
export function parseCode(text: string, directories: number): Code {
  const match = /^(\d{1,3})\+(\d{1,3})$/.exec(text);
  const code = { k: Number(match?.[1]), m: Number(match?.[2]) };
  if (match === null || code.k < 1) {
    throw new AwsError(
      "InvalidArgument",
      `"${text}" is no erasure code. One is K+M, data and parity shards, for example 2+1.`,
    );
  }
  if (directoriesOf(code) > directories) {
    throw new AwsError(
      "InvalidArgument",
      `The erasure code ${codeName(code)} needs ${directoriesOf(code)} storage directories ` +
        `and this store has ${directories}.`,
    );
  }
  return code;
}

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
