/**
 * What the tables of the index hold, as the rest of the store sees it: a `Record` is what stands in the
 * segments, a `Row` is that with what the index knows besides, such as where the copies of its record
 * stand.
 *
 * Types only. The records are written to the segments as JSON, so a field that is renamed here no longer
 * reads what is on the disks.
 */
import type { Location } from "../segments/blob_directory.ts";
import type { Code } from "../extents/code.ts";
import type { Stripe } from "../extents/layout.ts";
import type { BucketSettings, ObjectLock, Tag } from "../objects/settings.ts";

export interface BucketRecord {
  readonly id: number;
  readonly name: string;
  readonly account_id: string;
  readonly created_ms: number;
  readonly region: string;
}

export interface BucketRow extends BucketRecord {
  /** What its owner has set for it; see `settings.ts`. */
  readonly settings: BucketSettings;
}

/** What a client gave with an object and gets back with it. */
export interface ObjectMeta {
  /** Header names in lower case. */
  readonly headers: Readonly<Record<string, string>>;
  /** User metadata without its prefix. */
  readonly user: Readonly<Record<string, string>>;
  readonly checksum?: ChecksumMeta;
  /** Sizes of a multipart object's parts, in order. */
  readonly parts?: readonly number[];
  /** Their checksums in the same order, where the upload had an algorithm. */
  readonly part_checksums?: readonly string[];
  /** The upload that made it. */
  readonly upload?: string;
  readonly tags?: readonly Tag[];
  readonly lock?: ObjectLock;
  /** Undefined for STANDARD. */
  readonly storage_class?: string;
  /** How what is stored was sealed; undefined when it is stored as it came. */
  readonly seal?: Seal;
  /** What it was written with, where its bucket had a code of its own. */
  readonly code?: Code;
}

/** One key for an object with all its parts, itself sealed under another. */
export type Seal = MasterSeal | CustomerSeal;

interface SealedKey {
  /** Base64: nonce, sealed key and tag. */
  readonly key: string;
  /** Bytes of plain text in each of its pieces; 256 KiB where it does not say. */
  readonly piece?: number;
  /** The number of the body, for one that stands in its object's record. */
  readonly body?: number;
}

/** Sealed under the store's master key. */
export interface MasterSeal extends SealedKey {
  /** Which master key. */
  readonly master: string;
}

/** Sealed under a key that the client brings each time; see `encryption/customer_seal.ts`. */
export interface CustomerSeal extends SealedKey {
  /** Base64: of the key's hash, and the hash. */
  readonly customer: { readonly salt: string; readonly check: string };
}

export interface ChecksumMeta {
  readonly algorithm: string;
  /** Base64, with `-N` when composite. */
  readonly value: string;
  readonly type: "FULL_OBJECT" | "COMPOSITE";
  /** Of a part: the value that its object's is made of, where its client chose another algorithm for the part. */
  readonly whole?: string;
}

export type Revised = "Tagging:Put" | "Tagging:Delete" | "Retention:Put" | "Transition";

export interface ObjectRecord {
  readonly bucket: number;
  readonly key: string;
  /** Undefined for the null version. */
  readonly version?: string;
  /** How it came to be, where its other fields do not tell. */
  readonly made?: "Copy" | "Post" | "Lifecycle";
  /** Present in a delete marker, which has no data. */
  readonly marker?: true;
  /** Grows each time that this version's tags, lock or class change. */
  readonly revision?: number;
  /** What the last of these changes was, where an event tells of it; it stands in the record and in no row. */
  readonly revised?: Revised;
  readonly size: number;
  readonly modified_ms: number;
  readonly etag: string;
  readonly meta: ObjectMeta;
  /** Ids and sizes in order; undefined when the data stands in the record itself. */
  readonly extents?: readonly (readonly [id: number, size: number])[];
  /** The multipart upload that it completes. */
  readonly upload?: string;
}

export interface ObjectRow extends ObjectRecord {
  readonly sequence: number;
  readonly locations: readonly Location[];
}

export interface ListedObject {
  readonly key: string;
  readonly size: number;
  readonly modified_ms: number;
  readonly etag: string;
  readonly storage_class?: string;
  readonly checksum?: ChecksumMeta;
}

export interface ListedVersion extends ListedObject {
  readonly sequence: number;
  /** `null` where it has none. */
  readonly version: string;
  readonly marker: boolean;
  readonly latest: boolean;
}

export interface SettingsRecord {
  readonly bucket: number;
  readonly settings: BucketSettings;
}

export interface ExtentRecord {
  readonly id: number;
  readonly bucket: number;
  readonly key: string;
  readonly size: number;
  readonly k: number;
  readonly m: number;
  readonly stripes: readonly Stripe[];
  readonly upload?: string;
}

export interface ExtentRow extends ExtentRecord {
  readonly revision: number;
  readonly locations: readonly Location[];
}

export interface UploadRecord {
  readonly id: string;
  readonly bucket: number;
  readonly key: string;
  readonly created_ms: number;
  readonly meta: ObjectMeta;
  /** The algorithm that its parts are checked by, and how the whole is made. */
  readonly checksum?: { readonly algorithm: string; readonly type: "FULL_OBJECT" | "COMPOSITE" };
}
export interface UploadRow extends UploadRecord {
  readonly locations: readonly Location[];
}

export interface PartRecord {
  readonly upload: string;
  readonly number: number;
  readonly extent: number;
  readonly size: number;
  readonly etag: string;
  readonly modified_ms: number;
  readonly checksum?: ChecksumMeta;
}
export interface PartRow extends PartRecord {
  readonly sequence: number;
  readonly locations: readonly Location[];
}

/** Numbers of records that no recovery may let in: revisions of extents that are not whole, and all whose write failed. */
export interface RefusedMeta {
  readonly revisions: readonly number[];
  /** Kept for good. */
  readonly partial: true;
}
