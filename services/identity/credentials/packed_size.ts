/**
 * How much of a session's allotted space its policies and tags take. AWS packs and compresses them into
 * the session token, in a form of its own; here they are deflated, measured against a space in which the
 * policy of AWS's documented example takes the 6 % that AWS answers for it.
 */
import { deflateRawSync } from "node:zlib";
import { AwsError } from "../../aws/errors.ts";

const space_bytes = 1_700;

export interface Packed {
  readonly policies: readonly string[];
  readonly policy_arns: readonly string[];
  readonly tags: Readonly<Record<string, string>>;
}

/**
 * The member of the answer; nothing of a session that has neither policies nor tags.
 * @throws AwsError `PackedPolicyTooLarge`
 */
export function packedSize(
  { policies, policy_arns, tags }: Packed,
): { readonly PackedPolicySize?: number } {
  const parts = [...policies, ...policy_arns, ...Object.entries(tags).flat()];
  if (parts.length === 0) return {};
  const percent = Math.ceil(deflateRawSync(parts.join("\0")).length * 100 / space_bytes);
  if (percent <= 100) return { PackedPolicySize: percent };
  throw new AwsError(
    "PackedPolicyTooLarge",
    policies.length + policy_arns.length === 0
      ? `Packed size of session tags consumes ${percent}% of allotted space.`
      : `Packed policy consumes ${percent}% of allotted space, please use smaller policy.`,
  );
}
