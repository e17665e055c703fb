/** DescribeImages and DeregisterImage, and images that are whole from the start. */
import { AwsError } from "../../aws/errors.ts";
import type { ActionTable } from "../../resources/actions.ts";
import type { Input } from "../../resources/wire.ts";
import type { ImageRecord } from "../contract.ts";
import { checkNameIsFree } from "./image_names.ts";
import { deregister } from "./image_making.ts";
import { deprecationOf } from "./image_deprecation.ts";
import { ownImage, refuseProtected } from "./image_states.ts";
import { showImage } from "./image_type.ts";
import type { SnapshotKeeper } from "../snapshots/snapshots.ts";
import type { ComputeState } from "../state.ts";

/** Writes a new image, and makes it available. @throws AwsError and leaves nothing */
export async function addImage(state: ComputeState, image: ImageRecord): Promise<ImageRecord> {
  const { images } = state;
  const { account_id, image_id, name } = image;
  const present = images.get(account_id, image_id);
  if (present?.state === "available") return present;
  await images.ensure({ ...image, state: "pending" });
  try {
    checkNameIsFree(state, account_id, name, image_id);
  } catch (error) {
    await images.delete(account_id, image_id);
    throw error;
  }
  return await images.modify(account_id, image_id, (now) => ({ ...now, state: "available" }));
}

function ownersTest(
  owners: readonly string[] | undefined,
  account: string,
): (image: ImageRecord) => boolean {
  if (owners === undefined || owners.length === 0) return () => true;
  const wanted = new Set<string>();
  for (const owner of owners) {
    if (owner === "self") wanted.add(account);
    else if (/^\d{12}$/.test(owner)) wanted.add(owner);
    else if (!["amazon", "aws-marketplace", "aws-backup-vault"].includes(owner)) {
      throw new AwsError("InvalidUserID.Malformed", `Invalid user id: "${owner}"`);
    }
  }
  return (image) => wanted.has(image.account_id);
}

function usersTest(
  users: readonly string[] | undefined,
  account: string,
): (image: ImageRecord) => boolean {
  if (users === undefined || users.length === 0) return () => true;
  for (const user of users) {
    if (user !== "self" && user !== "all" && !/^\d{12}$/.test(user)) {
      throw new AwsError("InvalidUserID.Malformed", `Invalid user id: "${user}"`);
    }
  }
  // Those that say so by name: an owner's own images and public ones are no account's by permission.
  const named = users.map((user) => user === "self" ? account : user);
  return (image) =>
    (image.public && named.includes("all")) ||
    named.some((user) => image.shared_with?.includes(user) === true);
}

/** What is left out unless it is asked for: disabled images, and others' deprecated ones that are not named. */
function kindsTest(
  input: Input<"DescribeImages">,
  account: string,
): (image: ImageRecord) => boolean {
  const now = new Date().toISOString();
  const allAges = input.IncludeDeprecated === true || (input.ImageIds ?? []).length > 0;
  return (image) =>
    (image.state !== "disabled" || input.IncludeDisabled === true) &&
    (allAges || image.account_id === account || (deprecationOf(image) ?? "9") > now);
}

export function imageActions(state: ComputeState, snapshotKeeper: SnapshotKeeper) {
  const { images } = state;
  return {
    DescribeImages: {
      run: async (input, call) => {
        const owned = ownersTest(input.Owners, call.account_id);
        const executable = usersTest(input.ExecutableUsers, call.account_id);
        const ofKind = kindsTest(input, call.account_id);
        const page = await images.describe({
          action: "DescribeImages",
          ids: input.ImageIds,
          filters: input.Filters,
          page: input,
          parameters: [
            input.Owners ?? [],
            input.ExecutableUsers ?? [],
            input.IncludeDeprecated === true,
            input.IncludeDisabled === true,
          ],
          where: (image) => owned(image) && executable(image) && ofKind(image),
        }, call);
        return { Images: page.records.map(showImage), NextToken: page.nextToken };
      },
    },

    DeregisterImage: {
      resources: (input, call) => [images.arnOf(call, input.ImageId)],
      check: async (input, call) => {
        refuseProtected(await ownImage(images, call.account_id, input.ImageId));
      },
      run: async (input, call) => {
        const account = call.account_id;
        const image = await images.require(account, input.ImageId);
        refuseProtected(image);
        const going = image.block_devices.flatMap(({ snapshot_id: id }) => {
          const snapshot = id === undefined ? undefined : state.snapshots.get(account, id);
          return snapshot !== undefined &&
              (input.DeleteAssociatedSnapshots === true || snapshot.goes_with_images === true)
            ? [snapshot.snapshot_id]
            : [];
        });
        const removed = await deregister(snapshotKeeper, image, going);
        const results = going.map((SnapshotId) => ({
          SnapshotId,
          ReturnCode: removed.has(SnapshotId) ? "success" as const : "skipped" as const,
        }));
        return {
          Return: true,
          ...(input.DeleteAssociatedSnapshots === true ? { DeleteSnapshotResults: results } : {}),
        };
      },
    },
  } satisfies ActionTable;
}
