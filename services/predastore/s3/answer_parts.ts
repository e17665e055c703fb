/** What many answers have in the same form. */
import { element } from "./xml.ts";

/** The canonical id by which S3 knows an account: 64 hex digits. */
export const canonicalId = (account_id: string) => account_id.padStart(64, "0");

/** The account as S3 shows an owner, who has no name besides any more. */
export const owner = (account_id: string) =>
  element("Owner", element("ID", canonicalId(account_id)));

/** Who began an upload, shown alike. */
export const initiator = (account_id: string) =>
  element("Initiator", element("ID", canonicalId(account_id)));

export const quoted = (etag: string) => `"${etag}"`;

const wholeSeconds = (ms: number) => new Date(Math.floor(ms / 1000) * 1000);
export const httpDate = (ms: number) => wholeSeconds(ms).toUTCString();
/** A time in documents: S3 tells no more of it there than in headers, which clients compare. */
export const documentDate = (ms: number) => wholeSeconds(ms).toISOString();
