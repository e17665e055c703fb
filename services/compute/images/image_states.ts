/**
 * What an owner says of an image: EnableImage and DisableImage, its deprecation, and its protection
 * from being deregistered. Each is one change of the record and may be repeated.
 *
 * A disabled image is nobody's to launch and its owner's alone to see; enabling it again does not share it
 * again. A deprecated one stays usable by who knows its id.
 */
import { AwsError } from "../../aws/errors.ts";
import type { ActionTable, Call } from "../../resources/actions.ts";
import { invalidParameter } from "../../resources/errors.ts";
import { checkId } from "../../resources/ids.ts";
import type { Resources } from "../../resources/resource.ts";
import type { ImageRecord } from "../contract.ts";
import { publicDeprecation, yearsAfter } from "./image_deprecation.ts";
import { imageType, isProtected } from "./image_type.ts";
import type { ComputeState } from "../state.ts";

const cooldown_ms = 24 * 3600_000;
/** From now on. */
const furthest_years = 10;

/** @throws AwsError `AuthFailure` for what the account sees and does not own, else not found */
export async function ownImage(
  images: Resources<ImageRecord>,
  account: string,
  id: string,
): Promise<ImageRecord> {
  checkId(imageType.idPrefix, id, imageType.errors);
  const seen = images.visible(account, id);
  if (seen !== undefined && seen.account_id !== account) {
    throw new AwsError("AuthFailure", `Not authorized for image:${id}`, { status: 403 });
  }
  return await images.require(account, id);
}

/** @throws AwsError `OperationNotPermitted` */
export function refuseProtected(image: ImageRecord): void {
  if (!isProtected(image)) return;
  throw new AwsError(
    "OperationNotPermitted",
    `The image '${image.image_id}' is protected from deregistration. Disable its deregistration protection and, after a cooldown, try again.`,
  );
}

/** To the minute that is nearest, as EC2 keeps it. @throws AwsError `InvalidParameterValue` */
function deprecationTime(image: ImageRecord, at: string): string {
  const given = Date.parse(at);
  const furthest = image.public ? publicDeprecation(image) : yearsAfter(new Date(), furthest_years);
  if (!(given > Date.now()) || given > Date.parse(furthest)) {
    throw invalidParameter(
      "DeprecateAt",
      at,
      image.public
        ? `Expected a time from now on, not after ${furthest}, the latest that this public image may have.`
        : `Expected a time from now on, ${furthest_years} years ahead at most.`,
    );
  }
  return new Date(Math.round(given / 60_000) * 60_000).toISOString();
}

function checkUsable(image: ImageRecord): void {
  if (image.state === "available" || image.state === "disabled") return;
  throw new AwsError(
    "InvalidAMIID.Unavailable",
    `The image ID '${image.image_id}' is ${image.state}`,
  );
}

/** @throws AwsError `OperationNotPermitted` for a public one, which always has a time */
function withoutDeprecation({ deprecation_time: _, ...image }: ImageRecord): ImageRecord {
  if (!image.public) return image;
  throw new AwsError(
    "OperationNotPermitted",
    `The image '${image.image_id}' is public: its deprecation is cancelled when it is no longer.`,
  );
}

function unprotected(image: ImageRecord): ImageRecord {
  const { deregistration_protection: held, ...rest } = image;
  if (held === undefined || held.until !== undefined) return image;
  if (!held.cooldown) return rest;
  const until = new Date(Date.now() + cooldown_ms).toISOString();
  return { ...rest, deregistration_protection: { ...held, until } };
}

export function imageStateActions({ images }: ComputeState) {
  /** An action on one image of the caller's own that changes its record. */
  const changing = <I extends { readonly ImageId: string }, R>(
    change: (image: ImageRecord, input: I) => ImageRecord,
    answer: R,
  ) => ({
    resources: (input: I, call: Call) => [images.arnOf(call, input.ImageId)],
    check: async (input: I, call: Call) => {
      const image = await ownImage(images, call.account_id, input.ImageId);
      checkUsable(image);
      change(image, input);
    },
    run: async (input: I, call: Call) => {
      await images.modify(call.account_id, input.ImageId, (image) => {
        checkUsable(image);
        return change(image, input);
      });
      return { Return: answer };
    },
  });
  return {
    DisableImage: changing(
      ({ shared_with: _, ...image }) => ({ ...image, state: "disabled" as const, public: false }),
      true,
    ),
    EnableImage: changing((image) => ({ ...image, state: "available" as const }), true),
    EnableImageDeprecation: changing(
      (image, { DeprecateAt }: { readonly ImageId: string; readonly DeprecateAt: string }) => ({
        ...image,
        deprecation_time: deprecationTime(image, DeprecateAt),
      }),
      true,
    ),
    DisableImageDeprecation: changing(withoutDeprecation, true),
    EnableImageDeregistrationProtection: changing(
      (
        image,
        { WithCooldown }: { readonly ImageId: string; readonly WithCooldown?: boolean | undefined },
      ) => ({ ...image, deregistration_protection: { cooldown: WithCooldown === true } }),
      "true",
    ),
    DisableImageDeregistrationProtection: changing(unprotected, "true"),
  } satisfies ActionTable;
}
