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

/** @throws AwsError `InvalidAMIName.Duplicate` when another image that counts has the name */
export function checkNameIsFree(
  { images }: ComputeState,
  account: string,
  name: string,
  mine?: { readonly image_id: string; readonly revision: number },
): void {
  for (const other of images.all(account)) {
    if (other.name !== name || other.image_id === mine?.image_id || other.state === "failed") {
      continue;
    }
    // Nobody has heard of it yet, and perhaps nobody ever will.
    if (other.making !== undefined) continue;
    const revision = images.table.get(images.keyOf(account, other.image_id))?.revision ?? 0;
    const isThere = other.state === "available" || other.state === "disabled";
    if (mine === undefined || isThere || revision < mine.revision) {
      throw new AwsError(
        "InvalidAMIName.Duplicate",
        `AMI name ${name} is already in use by AMI ${other.image_id}`,
      );
    }
  }
}
