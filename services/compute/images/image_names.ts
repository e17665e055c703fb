/**
 * An image's name, which is unique in its account: a new image is written as `pending`, and becomes available only
 * when no older record has its name. Of two at once the one that was written first wins.
 */
import { AwsError } from "../../aws/errors.ts";
import type { ComputeState } from "../state.ts";

/** @throws AwsError `InvalidAMIName.Malformed` */
export function checkImageName(name: string): void {
  if (!/^[A-Za-z0-9()[\] ./\-'@_]{3,128}$/.test(name)) {
    throw new AwsError(
      "InvalidAMIName.Malformed",
      "AMI names must be between 3 and 128 characters long, and may contain letters, numbers, and ( ) [ ] . / - ' @ _ and blanks.",
    );
  }
}

/**
 * The image that counts for a name, and is another than one's own.
 * @param mine an image on record whose name it is to be; none when it is yet to be written
 */
export function holderOfName(
  { images }: ComputeState,
  account: string,
  name: string,
  mine?: string,
): string | undefined {
  const revisionOf = (image_id: string) =>
    images.table.get(images.keyOf(account, image_id))?.revision ?? 0;
  for (const { image_id, making, name: its, state } of images.all(account)) {
    if (its !== name || image_id === mine || state === "failed") continue;
    // Nobody has heard of it yet, and perhaps nobody ever will.
    if (making !== undefined) continue;
    const isThere = state === "available" || state === "disabled";
    if (mine === undefined || isThere || revisionOf(image_id) < revisionOf(mine)) return image_id;
  }
  return undefined;
}

/** @throws AwsError `InvalidAMIName.Duplicate` when another image that counts has the name */
export function checkNameIsFree(
  state: ComputeState,
  account: string,
  name: string,
  mine?: string,
): void {
  const holder = holderOfName(state, account, name, mine);
  if (holder === undefined) return;
  throw new AwsError(
    "InvalidAMIName.Duplicate",
    `AMI name ${name} is already in use by AMI ${holder}`,
  );
}
