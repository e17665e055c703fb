/** A Reed-Solomon code: its numbers, and how it is asked for and told. */
import { AwsError } from "../../aws/errors.ts";

/** k data and m parity shards for each stripe. */
export interface Code {
  readonly k: number;
  readonly m: number;
}

/** Directories that a body of this code is spread over, and copies of each of its records. */
export const directoriesOf = ({ k, m }: Code): number => k + m;

/** `2+1`, as it is asked for and told. */
export const codeName = ({ k, m }: Code): string => `${k}+${m}`;

/**
 * @param directories that the store has
 * @throws AwsError `InvalidArgument`, saying what would be one
 */
export function parseCode(text: string, directories: number): Code {
  const match = /^(\d{1,3})\+(\d{1,3})$/.exec(text);
  const code = { k: Number(match?.[1]), m: Number(match?.[2]) };
  if (match === null || code.k < 1) {
    throw new AwsError(
      "InvalidArgument",
      `"${text}" is no erasure code. One is K+M, data and parity shards, for example 2+1.`,
    );
  }
  if (directoriesOf(code) > directories) {
    throw new AwsError(
      "InvalidArgument",
      `The erasure code ${codeName(code)} needs ${directoriesOf(code)} storage directories ` +
        `and this store has ${directories}.`,
    );
  }
  return code;
}
