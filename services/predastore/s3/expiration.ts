/** What answers tell of the end that lifecycle rules have set: of an object, and of an upload. */
import type { BucketRow } from "../index/rows.ts";
import { abortion, enabledRules, type Ending, expiry } from "../objects/expiry.ts";
import { httpDate } from "./answer_parts.ts";

/** The rule's id, as far as headers can carry it. */
const named = ({ rule }: Ending) => /^[ !#-~]*$/.test(rule) ? rule : encodeURIComponent(rule);

/** @param object a current version */
export function tellExpiry(
  headers: Headers,
  bucket: Pick<BucketRow, "settings">,
  object: Parameters<typeof expiry>[1],
): void {
  const ending = expiry(enabledRules(bucket.settings), object);
  if (ending === undefined) return;
  headers.set(
    "x-amz-expiration",
    `expiry-date="${httpDate(ending.at_ms)}", rule-id="${named(ending)}"`,
  );
}

export function tellAbortion(
  headers: Headers,
  bucket: Pick<BucketRow, "settings">,
  upload: Parameters<typeof abortion>[1],
): void {
  const ending = abortion(enabledRules(bucket.settings), upload);
  if (ending === undefined) return;
  headers.set("x-amz-abort-date", httpDate(ending.at_ms));
  headers.set("x-amz-abort-rule-id", named(ending));
}
