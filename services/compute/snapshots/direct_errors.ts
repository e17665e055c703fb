/** What the EBS direct APIs say when they refuse: codes and reasons of their own, where EC2 has others. */
import { AwsError } from "../../aws/errors.ts";

export type Invalid =
  | "INVALID_BLOCK"
  | "INVALID_BLOCK_TOKEN"
  | "INVALID_CUSTOMER_KEY"
  | "INVALID_DEPENDENCY_REQUEST"
  | "INVALID_PAGE_TOKEN"
  | "INVALID_PARAMETER_VALUE"
  | "INVALID_SNAPSHOT_ID"
  | "INVALID_TAG"
  | "INVALID_VOLUME_SIZE";

export const invalid = (
  message: string,
  reason: Invalid = "INVALID_PARAMETER_VALUE",
  cause?: unknown,
) => new AwsError("ValidationException", message, { reason, cause });

export const notFound = (id: string) =>
  new AwsError("ResourceNotFoundException", `The snapshot '${id}' does not exist.`, {
    status: 404,
    reason: "SNAPSHOT_NOT_FOUND",
  });

/** Viperblock and the frame speak EC2's codes; this API has its own. */
export function inOurWords(error: unknown, snapshotId: string, reason?: Invalid): unknown {
  if (!(error instanceof AwsError)) return error;
  switch (error.code) {
    case "InvalidSnapshot.NotFound":
      return notFound(snapshotId);
    case "InvalidParameterValue":
    case "IncorrectState":
      return invalid(error.message, reason, error);
    case "InsufficientVolumeCapacity":
      return new AwsError("ServiceQuotaExceededException", error.message, {
        status: 402,
        reason: "DEPENDENCY_SERVICE_QUOTA_EXCEEDED",
        cause: error,
      });
    case "IdempotentParameterMismatch":
      return new AwsError("ConflictException", error.message, { status: 409, cause: error });
    default:
      return error;
  }
}
