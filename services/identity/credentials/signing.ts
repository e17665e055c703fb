/** Signing keys for one day, region and service; the secret that they derive from stays here. */
import { createHash, timingSafeEqual } from "node:crypto";
import { AwsError } from "../../aws/errors.ts";
import { deriveSigningKey } from "../../aws/signatures/sigv4.ts";
import type { SigningGrant, SigningScope } from "../contract.ts";
import type { MasterKeys } from "./master_key.ts";
import { ownerOf, type Principal, principalOfSession } from "../principals.ts";
import { secretOf } from "./secrets.ts";
import type { KeyRecord, SessionRecord, State } from "../state.ts";

/**
 * How long a grant serves without being asked for again: how long a revoked key may live on with an
 * asker that missed the event, and how long an asker can do without identity.
 */
const grantLifetime_ms = 60_000;

/** Whether `date` (`20261121`) is yesterday, today or tomorrow: clocks and time zones differ. */
function withinOneDay(date: string, now_ms: number): boolean {
  if (!/^\d{8}$/.test(date)) return false;
  const day_ms = Date.UTC(
    Number(date.slice(0, 4)),
    Number(date.slice(4, 6)) - 1,
    Number(date.slice(6, 8)),
  );
  const day = 86_400_000;
  // Date.UTC takes 20260231 for a day in March: the text must be the day's own.
  if (new Date(day_ms).toISOString().slice(0, 10).replaceAll("-", "") !== date) return false;
  return Math.abs(day_ms / day - Math.floor(now_ms / day)) <= 1;
}

const badScope = (what: string) =>
  new AwsError("SignatureDoesNotMatch", `Credential should be scoped to a valid ${what}.`, {
    status: 403,
  });

/** The same words whether it never was, is no more, or comes with another's token. */
const invalidToken = () =>
  new AwsError(
    "InvalidClientTokenId",
    "The security token included in the request is invalid.",
    { status: 403 },
  );

/** A hash is compared, in constant time: the token's length and contents say nothing. */
function isToken(session: SessionRecord, token: string | undefined): boolean {
  const hash = createHash("sha256").update(token ?? "").digest();
  return timingSafeEqual(hash, Uint8Array.fromHex(session.token_sha256));
}

/** @throws AwsError `InvalidClientTokenId`, `ExpiredToken` (403) */
async function sessionOf(
  state: State,
  scope: SigningScope,
  now_ms: number,
): Promise<{ readonly key: SessionRecord; readonly who: Principal }> {
  const id = scope.access_key_id;
  if (!/^ASIA[A-Z2-7]{16}$/.test(id)) throw invalidToken();
  // Another identity process may have made it a moment ago.
  const key = (state.sessions.get(id) ?? await state.sessions.read(id))?.value;
  if (key === undefined || !isToken(key, scope.session_token)) throw invalidToken();
  if (key.expires_ms <= now_ms) {
    throw new AwsError("ExpiredToken", "The security token included in the request is expired", {
      status: 403,
    });
  }
  const who = principalOfSession(state, key, now_ms);
  if (who === undefined) throw invalidToken();
  return { key, who };
}

function longLived(state: State, scope: SigningScope) {
  const key = state.accessKey(scope.access_key_id)?.value;
  const who = key?.status === "Active" ? ownerOf(state, key) : undefined;
  if (key === undefined || who === undefined || scope.session_token !== undefined) {
    throw invalidToken();
  }
  return { key, who };
}

/** @throws AwsError as the contract says */
export async function grantSigningKey(
  state: State,
  masterKeys: MasterKeys,
  scope: SigningScope,
  now_ms = Date.now(),
): Promise<SigningGrant> {
  const texts = [scope?.access_key_id, scope?.date, scope?.region, scope?.service];
  if (!texts.every((text) => typeof text === "string")) throw badScope("form");
  if (!withinOneDay(scope.date, now_ms)) throw badScope("date");
  for (const name of ["region", "service"] as const) {
    if (!/^[a-z0-9][a-z0-9-]{0,62}$/.test(scope[name])) throw badScope(name);
  }
  const temporary = scope.access_key_id.startsWith("ASIA");
  const found: { readonly key: KeyRecord | SessionRecord; readonly who: Principal } = temporary
    ? await sessionOf(state, scope, now_ms)
    : longLived(state, scope);
  const { key, who } = found;
  const valid_until_ms = now_ms + grantLifetime_ms;
  return {
    key: deriveSigningKey(secretOf(key, masterKeys), scope).toBase64(),
    account_id: who.account_id,
    principal_arn: who.arn,
    user_id: who.id,
    valid_until_ms: "expires_ms" in key ? Math.min(valid_until_ms, key.expires_ms) : valid_until_ms,
  };
}
