/**
 * Scalars as AWS's protocols write them in text: the same in query forms, headers, paths and XML.
 *
 * Each function gives the plain JSON value that handlers see, or nothing for text that is not one;
 * the caller knows the parameter's path and says what is wrong with it.
 */
const integer = /^[+-]?\d{1,16}$/;
const decimal = /^[+-]?(\d+(\.\d*)?|\.\d+)([eE][+-]?\d{1,3})?$/;
const base64 = /^(?:[A-Za-z0-9+/]{4})*(?:[A-Za-z0-9+/]{2}==|[A-Za-z0-9+/]{3}=)?$/;
const timestamp =
  /^(\d{4})-(\d\d)-(\d\d)T(\d\d):(\d\d):(\d\d)(?:\.\d{1,9})?(?:Z|[+-]\d\d:?\d\d)?$/i;
/** What XML 1.0 cannot carry could not be answered back. */
// deno-lint-ignore no-control-regex
const unprintable = /[\u0000-\u0008\u000b\u000c\u000e-\u001f\ufffe\uffff]/;

export function isPrintable(text: string): boolean {
  return !unprintable.test(text) && text.isWellFormed();
}

export function readBoolean(text: string): boolean | undefined {
  const lower = text.toLowerCase();
  return lower === "true" ? true : lower === "false" ? false : undefined;
}

export function readNumber(text: string, kind: "integer" | "number"): number | undefined {
  const value = Number(text);
  if (kind === "integer") {
    return integer.test(text) && Number.isSafeInteger(value) ? value : undefined;
  }
  return decimal.test(text) && Number.isFinite(value) ? value : undefined;
}

/** An ISO 8601 time as an ISO string in UTC. */
export function readTimestamp(text: string): string | undefined {
  const fields = timestamp.exec(text);
  if (fields === null) return undefined;
  // A time without a zone is in UTC, as AWS takes it.
  const at = Date.parse(/(?:Z|[+-]\d\d:?\d\d)$/i.test(text) ? text : `${text}Z`);
  const lastDay = new Date(Date.UTC(Number(fields[1]), Number(fields[2]), 0)).getUTCDate();
  if (Number.isNaN(at) || Number(fields[3]) > lastDay) return undefined;
  return new Date(at).toISOString();
}

/** Base64, without the line breaks that some clients put in. */
export function readBase64(text: string): string | undefined {
  const bare = text.replace(/[\r\n]/g, "");
  return base64.test(bare) ? bare : undefined;
}
