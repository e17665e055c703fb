/**
 * Whether a caller may: identity decides by what is attached to him, and weighs the bucket's policy where there is one.
 * Who signs nothing may what a bucket's policy says, and nothing else.
 */
import type { SigningGrant, SigningScope, Verified } from "../../aws/signatures/sigv4.ts";
import type { CallContext } from "../../bus/subject.ts";
import type { AuthorizeDecision, ResourcePolicy } from "../../identity/contract.ts";
import type { Store } from "../store.ts";
import type { Arrived } from "./arrival.ts";
import { isRestricted } from "./bucket_policy.ts";
import type { S3Call } from "./call.ts";
import { isNobody } from "./nobody.ts";
import { bucketOf, type Permission } from "./permissions.ts";
import { type AskedRequest, existingTags, requestConditions } from "./request_conditions.ts";

/** How long a request waits to hear whether it may. */
const authorized_ms = 5_000;

type Asked = Omit<AskedRequest, "account_id" | "conditions">;

export interface AuthorizationOptions {
  readonly store: Store;
  /** Whether a caller may; the system on its own door is never asked for. */
  readonly authorize: (permission: Permission, context: CallContext) => Promise<boolean>;
  /** The same where the bucket has a policy, which is weighed too. */
  readonly weigh: (
    permission: Permission,
    policy: ResourcePolicy,
    context: CallContext,
  ) => Promise<AuthorizeDecision>;
}

export class Authorization {
  readonly #o: AuthorizationOptions;

  constructor(options: AuthorizationOptions) {
    this.#o = options;
  }

  /** What a request of that caller may; the system everything. @param shared gets the buckets whose policy let him in */
  mayOf(
    verified: Verified | undefined,
    from: Arrived,
    asked: Asked,
    shared: Set<string>,
  ): S3Call["may"] {
    if (verified === undefined) return () => Promise.resolve(true);
    const { grant, scope } = verified;
    return (permission) => this.ask(grant, scope, from, asked, permission, shared);
  }

  ask(
    grant: SigningGrant,
    scope: SigningScope,
    from: Arrived,
    asked: Asked,
    { action, resource, conditions, version, creates }: Permission,
    shared: Set<string>,
  ): Promise<boolean> {
    const context: CallContext = {
      request_id: from.request_id,
      account_id: grant.account_id,
      principal_arn: grant.principal_arn,
      access_key_id: scope.access_key_id,
      region: scope.region,
      source_ip: from.source_ip,
      deadline_ms: Date.now() + authorized_ms,
    };
    const name = bucketOf(resource);
    const { store } = this.#o;
    const bucket = name === undefined ? undefined : store.buckets.find(name);
    const document = bucket?.settings.policy;
    const permission: Permission = {
      action,
      resource,
      // Mostly nobody looks: who may everything is known, and not asked about again.
      get conditions() {
        return {
          ...requestConditions({ ...asked, account_id: bucket?.account_id, conditions, creates }),
          ...existingTags(store, bucket, { action, resource, version }),
        };
      },
    };
    if (bucket === undefined || document === undefined) {
      // Who signs nothing may what a bucket's policy says, and nothing else.
      if (isNobody(grant)) return Promise.resolve(false);
      return this.#o.authorize(permission, context);
    }
    if (bucket.account_id !== grant.account_id && isRestricted(bucket.settings)) {
      return Promise.resolve(false);
    }
    const { policy_trusted: trusted } = bucket.settings;
    const policy: ResourcePolicy = {
      document,
      account_id: bucket.account_id,
      ...(trusted === undefined ? {} : { trusted }),
    };
    return this.#weigh(permission, policy, context, () => {
      if (bucket.account_id !== grant.account_id) shared.add(bucket.name);
    });
  }

  /** @param onShared called when the bucket's policy lets the caller in */
  async #weigh(
    permission: Permission,
    policy: ResourcePolicy,
    context: CallContext,
    onShared: () => void,
  ): Promise<boolean> {
    const { allowed, by_resource } = await this.#o.weigh(permission, policy, context);
    if (allowed && by_resource === true) onShared();
    return allowed;
  }
}
