/** Signing keys for one day, region and service; the secret that they derive from stays here. */
import { AwsError } from "../aws/errors.ts";
import { deriveSigningKey } from "../aws/sigv4.ts";
import type { SigningGrant, SigningScope } from "./contract.ts";
import type { MasterKeys } from "./master_key.ts";
import { ownerOf } from "./principals.ts";
import { secretOf } from "./secrets.ts";
import type { State } from "./state.ts";

/**
 * How long a grant serves without being asked for again: how long a revoked key may live on with an
 * asker that missed the event, and how long an asker can do without identity.
 */
export const grantLifetime_ms = 60_000;

/** Whether `date` (`20261121`) is yesterday, today or tomorrow: clocks and time zones differ. */
export function withinOneDay(date: string, now_ms: number): boolean {
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

/** @throws AwsError as the contract says */
export function grantSigningKey(
  state: State,
  masterKeys: MasterKeys,
  scope: SigningScope,
  now_ms = Date.now(),
): SigningGrant {
  const texts = [scope?.access_key_id, scope?.date, scope?.region, scope?.service];
  if (!texts.every((text) => typeof text === "string")) throw badScope("form");
  if (!withinOneDay(scope.date, now_ms)) throw badScope("date");
  for (const name of ["region", "service"] as const) {
    if (!/^[a-z0-9][a-z0-9-]{0,62}$/.test(scope[name])) throw badScope(name);
  }
  const key = state.accessKey(scope.access_key_id)?.value;
  const who = key?.status === "Active" ? ownerOf(state, key) : undefined;
  if (key === undefined || who === undefined) {
    // The same words whether it never was or is no more.
    throw new AwsError(
      "InvalidClientTokenId",
      "The security token included in the request is invalid.",
      { status: 403 },
    );
  }
  return {
    key: deriveSigningKey(secretOf(key, masterKeys), scope).toBase64(),
    account_id: who.account_id,
    principal_arn: who.arn,
    user_id: who.id,
    valid_until_ms: now_ms + grantLifetime_ms,
  };
}
