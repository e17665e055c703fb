/**
 * What others may know of predastore: its system door, a Unix socket whose peers act as the system
 * (the file's permissions are the fence), and a small client for it. The S3 API itself is the contract for
 * everybody else.
 */

import { subject } from "../bus/subject.ts";
import type { FsckReport } from "./upkeep/fsck.ts";

/** Buckets that belong to the system; no account sees or names them. */
export const systemBuckets = { blocks: "mulga-blocks", images: "mulga-images" } as const;

/** Headers that the gateway adds on the front door, where predastore verifies the signature itself. */
export const frontHeaders = {
  /** The authority that the client signed. */
  authority: "x-mulga-authority",
  /** The request target as it came, before any normalisation. */
  target: "x-mulga-target",
  requestId: "x-mulga-request-id",
  sourceIp: "x-mulga-source-ip",
} as const;

/** Asks CreateBucket for the bucket's own erasure code, `2+1`; CreateBucket and HeadBucket tell it. */
export const erasureCodeHeader = "x-mulga-erasure-code";

/** Headers in which the peer of the delegate door names the caller on whose behalf it asks. */
export const delegateHeaders = {
  accountId: "x-mulga-account-id",
  principalArn: "x-mulga-principal-arn",
  accessKeyId: "x-mulga-access-key-id",
  target: frontHeaders.target,
} as const;

/** The JetStream stream that keeps what happened to objects. */
export const eventStream = "S3_EVENTS";

const token = (text: string) => text.replace(/[^A-Za-z0-9_-]/g, "_").slice(0, 80) || "_";

/**
 * Where events for one destination of a bucket's notification configuration are told:
 * `s3.event.<bucket>.<kind>.<name>`, where the name is the last part of the destination's ARN and dots
 * become `_`.
 */
export function eventSubject(bucket: string, kind: string, arn: string): string {
  const name = arn === "" ? "all" : arn.split(/[:/]/).at(-1) ?? "";
  return `s3.event.${token(bucket)}.${token(kind.toLowerCase())}.${token(name)}`;
}

/** AWS's event message. */
export interface S3Event {
  readonly Records: readonly {
    readonly eventVersion: string;
    readonly eventSource: "aws:s3";
    readonly awsRegion: string;
    readonly eventTime: string;
    /** `ObjectCreated:Put` and the like. */
    readonly eventName: string;
    /** Who asked for it and how; not there for what is told again after a crash. */
    readonly userIdentity?: { readonly principalId: string };
    readonly requestParameters?: { readonly sourceIPAddress: string };
    readonly responseElements?: {
      readonly "x-amz-request-id": string;
      readonly "x-amz-id-2": string;
    };
    readonly s3: {
      readonly s3SchemaVersion: string;
      readonly configurationId: string;
      readonly bucket: {
        readonly name: string;
        readonly ownerIdentity: { readonly principalId: string };
        readonly arn: string;
      };
      readonly object: {
        /** As in a query: spaces are `+`. */
        readonly key: string;
        readonly size?: number;
        readonly eTag?: string;
        readonly versionId?: string;
        /** Orders the events of one key, compared as text of the same length; of what is made or removed. */
        readonly sequencer?: string;
      };
    };
    /** Of `LifecycleTransition` alone. */
    readonly lifecycleEventData?: {
      readonly transitionEventData: { readonly destinationStorageClass: string };
    };
  }[];
}

/** What AWS tells each destination of a configuration when that is set; EventBridge alone hears none. */
export interface S3TestEvent {
  readonly Service: "Amazon S3";
  readonly Event: "s3:TestEvent";
  readonly Time: string;
  readonly Bucket: string;
  readonly RequestId: string;
  readonly HostId: string;
}

/** What AWS tells EventBridge, where the bucket has that turned on. */
export interface BridgedEvent {
  readonly version: "0";
  readonly id: string;
  /** `Object Created` and the like. */
  readonly "detail-type": string;
  readonly source: "aws.s3";
  /** Of the bucket's owner. */
  readonly account: string;
  readonly time: string;
  readonly region: string;
  readonly resources: readonly string[];
  readonly detail: {
    readonly version: "0";
    readonly bucket: { readonly name: string };
    readonly object: {
      /** As it is, not as in a query. */
      readonly key: string;
      readonly size?: number;
      readonly etag?: string;
      readonly "version-id"?: string;
      readonly sequencer?: string;
    };
    readonly "request-id"?: string;
    /** The account that asked, or `s3.amazonaws.com`. */
    readonly requester?: string;
    readonly "source-ip-address"?: string;
    readonly reason?: string;
    readonly "deletion-type"?: string;
    readonly "destination-storage-class"?: string;
  };
}

export interface DirectoryStatus {
  readonly path: string;
  readonly number: number;
  readonly state: "roomy" | "near_full" | "full" | "away";
  readonly free_bytes: number;
  readonly total_bytes: number;
  /** All that its segments take. */
  readonly used_bytes: number;
  /** What of that compaction will give back. */
  readonly reclaimable_bytes: number;
  /** Why it is away, or takes no writes. */
  readonly reason?: string;
  /** What to do about that, where the reason tells. */
  readonly remedy?: string;
}

export interface ScrubStatus {
  readonly running: boolean;
  readonly bytes_checked: number;
  readonly damaged: number;
}

/** Calls at all doors since the start; rates over the last minute, durations of the last thousand. */
export interface RequestCounts {
  readonly count: number;
  readonly errors: number;
  readonly per_second: number;
  readonly p50_ms: number;
  readonly p99_ms: number;
  readonly bytes_in: number;
  readonly bytes_out: number;
}

/** The erasure code of a bucket, `2+1`. */
export interface BucketCode {
  readonly bucket: string;
  readonly code: string;
  /** Whether it was set for this bucket; it has the node's otherwise. */
  readonly own: boolean;
}

export interface StoreStatus {
  /** The node's, `RS(2,1)`; room is told by it. */
  readonly code: string;
  /** Buckets that have one of their own: so many, and the first of them by name. */
  readonly own_codes: { readonly count: number; readonly buckets: readonly BucketCode[] };
  readonly objects: number;
  readonly bytes: number;
  readonly buckets: number;
  /** Bytes of objects that may still be stored, above the reserve. */
  readonly free_bytes: number;
  readonly total_bytes: number;
  readonly reserve_bytes: number;
  readonly directories: readonly DirectoryStatus[];
  readonly shards_missing: number;
  readonly repair: {
    readonly running: boolean;
    readonly queued_extents: number;
    readonly shards_repaired: number;
    readonly records_repaired: number;
    readonly unrepaired: number;
  };
  readonly scrub: ScrubStatus & { readonly finished_ms?: number; readonly age_ms?: number };
  readonly segments_compacted: number;
  readonly bytes_compacted: number;
  readonly degraded_reads: number;
  readonly hedged_reads: number;
  readonly events_waiting: number;
  readonly requests: RequestCounts;
}

export type { FsckReport } from "./upkeep/fsck.ts";

export interface FsckAnswer {
  /** Names the check in the questions after the first. */
  readonly job: string;
  readonly records: number;
  readonly extents: number;
  readonly bytes: number;
  /** Once it has ended. */
  readonly report?: FsckReport;
  readonly error?: string;
}

/** On `node.<id>.…`: how the store of that node is. */
export const s3Status = subject<null, StoreStatus>("s3.status", 15_000);
/** What one bucket holds: bytes of its objects and versions, before redundancy. */
export interface BucketUsage {
  readonly account_id: string;
  readonly bucket: string;
  readonly bytes: number;
  readonly tags: Readonly<Record<string, string>>;
}
/** Every account's buckets, the system's left out. */
export const s3Usage = subject<null, readonly BucketUsage[]>("s3.usage", 15_000);
/** Tells a bucket's erasure code; sets it first when one is given, `default` for the node's. */
export const s3Code = subject<{ readonly bucket: string; readonly code?: string }, BucketCode>(
  "s3.code",
  15_000,
);
/** Begins a scrub, or only tells of it. */
export const s3Scrub = subject<{ readonly start: boolean }, ScrubStatus>("s3.scrub", 15_000);
/** Begins a check, or tells of the one that is named. */
export const s3Fsck = subject<{ readonly job?: string }, FsckAnswer>("s3.fsck", 15_000);

export { ObjectStore, ObjectStoreError } from "./object_store.ts";
