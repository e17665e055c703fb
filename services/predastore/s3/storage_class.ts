/**
 * Storage classes: those whose objects are at hand at once are kept with an object and told of it. All of
 * them are stored alike, by their bucket's erasure code. What would have to be restored before it can be
 * read, or belongs to other kinds of buckets, is no valid class here. STANDARD is kept as no class at all.
 */
import { DetailedError } from "./call.ts";

const standard = "STANDARD";
const atHand: readonly string[] = [
  standard,
  "REDUCED_REDUNDANCY",
  "STANDARD_IA",
  "ONEZONE_IA",
  "INTELLIGENT_TIERING",
  "GLACIER_IR",
];
export const storageClassHeader = "x-amz-storage-class";

/** The class that a write asks for, as it is kept. @throws AwsError `InvalidStorageClass` */
export function askedClass(headers: Headers): string | undefined {
  const asked = headers.get(storageClassHeader);
  if (asked === null || asked === standard) return undefined;
  if (atHand.includes(asked)) return asked;
  throw new DetailedError(
    "InvalidStorageClass",
    "The storage class you specified is not valid",
    { elements: { StorageClassRequested: asked } },
  );
}

/** Classes that lifecycle rules may move objects to. */
export const movable: readonly string[] = atHand.slice(2);

/** Whether objects can have it. */
export const isClass = (name: string) => atHand.some((one) => one === name);

/** As documents have it. */
export const shownClass = (kept: string | undefined): string => kept ?? standard;

/** As answers about one object have it: nothing is said of STANDARD. */
export function tellClass(headers: Headers, kept: string | undefined): void {
  if (kept !== undefined) headers.set(storageClassHeader, kept);
}
