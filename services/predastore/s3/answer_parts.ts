/** What many answers have in the same form. */
import { element } from "./xml.ts";

/** The account as S3 shows an owner: a canonical id in 64 hex digits. */
export function owner(account_id: string) {
  return element("Owner", [
    element("ID", account_id.padStart(64, "0")),
    element("DisplayName", account_id),
  ]);
}

export const quoted = (etag: string) => `"${etag}"`;
export const httpDate = (ms: number) => new Date(Math.floor(ms / 1000) * 1000).toUTCString();
