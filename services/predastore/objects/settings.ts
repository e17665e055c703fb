/**
 * What a bucket's owner can set for it, as it is kept: one document for each bucket, replaced as a whole.
 *
 * Types only. They are written to the segments as JSON, so a field that is renamed here no longer reads
 * what is on the disks. Who parses and who acts on each of them is named in `s3/`.
 */
import type { Code } from "../extents/code.ts";

export interface Tag {
  readonly key: string;
  readonly value: string;
}

/** What protects one version from being deleted or overwritten. */
export interface ObjectLock {
  readonly retention?: Retention;
  readonly legal_hold?: boolean;
}

export interface Retention {
  readonly mode: "GOVERNANCE" | "COMPLIANCE";
  readonly until_ms: number;
}

export interface CorsRule {
  readonly id?: string;
  readonly origins: readonly string[];
  readonly methods: readonly string[];
  readonly headers: readonly string[];
  readonly exposed: readonly string[];
  readonly max_age_s?: number;
}

export interface LifecycleFilter {
  readonly prefix: string;
  readonly tags: readonly Tag[];
  readonly above_bytes?: number;
  readonly below_bytes?: number;
  /** How it was written, where the rest does not tell: clients compare what they get back. */
  readonly form?: "rule" | "empty" | "and";
}

export interface LifecycleRule {
  readonly id: string;
  readonly enabled: boolean;
  readonly filter: LifecycleFilter;
  readonly expire_days?: number;
  readonly expire_at_ms?: number;
  /** Delete markers behind which no version is left. */
  readonly expire_markers?: boolean;
  readonly noncurrent_days?: number;
  /** How many noncurrent versions stay whatever their age. */
  readonly noncurrent_kept?: number;
  readonly abort_uploads_days?: number;
  readonly transitions?: readonly Transition[];
  readonly noncurrent_transitions?: readonly NoncurrentTransition[];
}

/** After so many days, or from that moment on, a current version has the class. */
export interface Transition {
  readonly storage_class: string;
  readonly days?: number;
  readonly at_ms?: number;
}

export interface NoncurrentTransition {
  readonly storage_class: string;
  readonly days: number;
  readonly kept?: number;
}

export interface NotificationRule {
  readonly id: string;
  readonly kind: "Topic" | "Queue" | "CloudFunction" | "EventBridge";
  /** Empty for EventBridge. */
  readonly arn: string;
  /** `s3:ObjectCreated:*` and the like; EventBridge hears of all. */
  readonly events: readonly string[];
  readonly prefix: string;
  readonly suffix: string;
}

export type Ownership = "BucketOwnerEnforced" | "BucketOwnerPreferred" | "ObjectWriter";

export interface PublicAccessBlock {
  readonly block_public_acls: boolean;
  readonly ignore_public_acls: boolean;
  readonly block_public_policy: boolean;
  readonly restrict_public_buckets: boolean;
}

export interface BucketSettings {
  readonly versioning?: "Enabled" | "Suspended";
  readonly tags?: readonly Tag[];
  readonly cors?: readonly CorsRule[];
  /** JSON as it was given. */
  readonly policy?: string;
  /** Whom it means: ARNs in it, and the id of whoever had each when it was written. */
  readonly policy_trusted?: Readonly<Record<string, string>>;
  readonly lifecycle?: readonly LifecycleRule[];
  /** What clients are told of the size below which rules move nothing; it makes no difference here. */
  readonly lifecycle_minimum?: string;
  /** Undefined for what a new bucket has. */
  readonly ownership?: Ownership | "none";
  /** Undefined for what a new bucket has. */
  readonly public_access?: PublicAccessBlock | "none";
  readonly notification?: readonly NotificationRule[];
  readonly lock?: {
    readonly default?: {
      readonly mode: Retention["mode"];
      readonly days?: number;
      readonly years?: number;
    };
  };
  /**
   * Whether clients are told to keep a bucket key; kept and shown, of no effect with SSE-S3. Undefined
   * while the bucket's encryption was never set.
   */
  readonly bucket_key?: boolean;
  /** Whether objects under keys of clients' own are refused. */
  readonly customer_keys_blocked?: boolean;
  /** What new bodies are coded with; undefined for the node's. */
  readonly code?: Code;
}
