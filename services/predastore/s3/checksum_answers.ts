/** A stored checksum as answers tell it: in headers of an object's own answer, in elements of a document. */
import { AwsError } from "../../aws/errors.ts";
import type { ChecksumMeta } from "../index/rows.ts";
import { checksumHeader } from "./checksums.ts";
import { element } from "./xml.ts";

export const typeHeader = "x-amz-checksum-type";

/** Whether a read asks to be told; writes are told always. @throws AwsError `InvalidRequest` */
export function asksChecksum(headers: Headers): boolean {
  const mode = headers.get("x-amz-checksum-mode");
  if (mode === null || mode.toUpperCase() === "ENABLED") return mode !== null;
  throw new AwsError("InvalidRequest", "Value for x-amz-checksum-mode header is invalid.");
}

export function tellChecksum(headers: Headers, checksum: ChecksumMeta | undefined): void {
  if (checksum === undefined) return;
  headers.set(checksumHeader(checksum.algorithm), checksum.value);
  headers.set(typeHeader, checksum.type);
}

/** Takes away what was told, where it says nothing of what is answered. */
export function untellChecksum(headers: Headers): void {
  for (const name of [...headers.keys()]) {
    if (name.startsWith("x-amz-checksum-")) headers.delete(name);
  }
}

type Value = Pick<ChecksumMeta, "algorithm" | "value">;

/** The value alone, as of a part, whose upload has the type. */
export const checksumValue = (checksum: Value | undefined) =>
  checksum && element(`Checksum${checksum.algorithm}`, checksum.value);

/** The value with its type. */
export const checksumElements = (checksum: ChecksumMeta | undefined) => [
  checksumValue(checksum),
  checksum && element("ChecksumType", checksum.type),
];

/** In lists, which tell of what kind a checksum is, and not the checksum. */
export const checksumKind = (checksum: Omit<ChecksumMeta, "value"> | undefined) => [
  checksum && element("ChecksumAlgorithm", checksum.algorithm),
  checksum && element("ChecksumType", checksum.type),
];
