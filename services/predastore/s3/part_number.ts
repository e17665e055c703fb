/** The numbers of an upload's parts. */
import { invalidArgument, type S3Call } from "./call.ts";

export const mostParts = 10_000;

/** The number that the query names, which is read for its value. @throws AwsError `InvalidArgument` */
export function partNumber({ query }: Pick<S3Call, "query">): number {
  const text = query.get("partNumber") ?? "";
  const number = /^\d+$/.test(text) ? Number(text) : NaN;
  if (number >= 1 && number <= mostParts) return number;
  throw invalidArgument(
    `Part number must be an integer between 1 and ${mostParts}, inclusive`,
    "partNumber",
    text,
  );
}
