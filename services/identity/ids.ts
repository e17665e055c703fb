/** Identifiers and secrets as AWS forms them. */
import { createHash, randomBytes } from "node:crypto";

const base32 = "ABCDEFGHIJKLMNOPQRSTUVWXYZ234567";

/** `length` random characters of the alphabet that AWS's ids use: five bits of a random byte each. */
function randomBase32(length: number): string {
  return Array.from(randomBytes(length), (byte) => base32[byte & 31]).join("");
}

/**
 * The id of a cluster's first account: twelve digits that follow from the cluster's own id, so that
 * all who start it first agree without a word. The first is not zero, which spreadsheets would drop.
 */
export function firstAccountId(clusterId: string): string {
  return accountIdFrom(createHash("sha256").update("mulga/first-account/").update(clusterId));
}

/** The id of a further account: it follows from the cluster and the account's own name. */
export function accountIdOf(clusterId: string, name: string): string {
  return accountIdFrom(
    createHash("sha256").update("mulga/account/").update(`${clusterId}/${name}`),
  );
}

function accountIdFrom(hash: ReturnType<typeof createHash>): string {
  return String(100_000_000_000n + hash.digest().readBigUInt64BE() % 900_000_000_000n);
}

export const newUserId = () => `AIDA${randomBase32(17)}`;
export const newGroupId = () => `AGPA${randomBase32(17)}`;
export const newRoleId = () => `AROA${randomBase32(17)}`;
export const newProfileId = () => `AIPA${randomBase32(17)}`;
export const newPolicyId = () => `ANPA${randomBase32(17)}`;
export const newAccessKeyId = () => `AKIA${randomBase32(16)}`;
/** Of temporary credentials. */
export const newSessionKeyId = () => `ASIA${randomBase32(16)}`;

/** Forty characters of base64, as AWS's own secrets are. */
export const newSecret = () => randomBytes(30).toString("base64");
/** Clients must take a session token for opaque text. */
export const newSessionToken = () => randomBytes(96).toString("base64");

/** Now, to the second: AWS's dates have no fraction. */
export const now = () => new Date().toISOString().replace(/\.\d+Z$/, "Z");
