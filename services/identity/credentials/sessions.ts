/**
 * Temporary credentials: an access key, a secret and a token that end by themselves.
 *
 * A session is one row, written before its credentials are handed out. The token is kept only as a
 * hash, the secret sealed. What has ended is removed, a little at a time, by whoever makes the next
 * session, an hour late so that its user is told that it ended and not that it never was.
 */
import { createHash } from "node:crypto";
import type * as Sts from "@aws-sdk/client-sts";
import { AwsError } from "../../aws/errors.ts";
import type { OnBus } from "../call.ts";
import { newSecret, newSessionKeyId, newSessionToken, now } from "../ids.ts";
import type { MasterKeys } from "./master_key.ts";
import { sealOwner, type SessionRecord } from "../records.ts";
import type { State } from "../state.ts";

/** What an account may have at once by asking for it: each is a row of everybody's state. */
const mostSessions = 20_000;
const kept_ms = 3_600_000;
const removedAtOnce = 16;

export type NewSession = Pick<SessionRecord, "account_id" | "kind" | "owner" | "name"> & {
  readonly policies?: readonly string[];
  readonly policy_arns?: readonly string[];
  readonly tags?: Readonly<Record<string, string>>;
  readonly transitive?: readonly string[];
  readonly source_identity?: string | undefined;
  readonly duration_s: number;
};

export type Credentials = NonNullable<OnBus<Sts.GetSessionTokenCommandOutput>["Credentials"]>;

/**
 * Makes a session and gives its credentials; nobody can have the token a second time.
 * @param most how many the account may have; `Infinity` for what it did not ask for
 * @throws AwsError `Throttling`
 */
export async function createSession(
  state: State,
  masterKeys: MasterKeys,
  wanted: NewSession,
  most = mostSessions,
): Promise<Credentials> {
  await removeEnded(state);
  if (state.sessionsOf(wanted.account_id) >= most) {
    throw new AwsError("Throttling", "Rate exceeded");
  }
  const access_key_id = newSessionKeyId();
  const secret = newSecret();
  const token = newSessionToken();
  const { account_id, kind, owner, name } = wanted;
  const expires_ms = Math.floor(Date.now() / 1_000 + wanted.duration_s) * 1_000;
  await state.sessions.create(access_key_id, {
    access_key_id,
    account_id,
    kind,
    owner,
    name,
    policies: wanted.policies ?? [],
    policy_arns: wanted.policy_arns ?? [],
    tags: wanted.tags ?? {},
    ...(wanted.transitive === undefined || wanted.transitive.length === 0
      ? {}
      : { transitive: wanted.transitive }),
    ...(wanted.source_identity === undefined ? {} : { source_identity: wanted.source_identity }),
    created: now(),
    expires_ms,
    secret: masterKeys.seal(secret, sealOwner({ access_key_id, account_id, owner })),
    token_sha256: createHash("sha256").update(token).digest("hex"),
  });
  return {
    AccessKeyId: access_key_id,
    SecretAccessKey: secret,
    SessionToken: token,
    Expiration: new Date(expires_ms).toISOString().replace(/\.\d+Z$/, "Z"),
  };
}

async function removeEnded(state: State): Promise<void> {
  const before_ms = Date.now() - kept_ms;
  const ended: string[] = [];
  for (const row of state.sessions.rows()) {
    if (row.value.expires_ms < before_ms) ended.push(row.key);
    if (ended.length === removedAtOnce) break;
  }
  await Promise.all(ended.map((key) => state.sessions.delete(key)));
}
