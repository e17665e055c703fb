/**
 * What is wrong with a parameter, in the words and codes of each query API.
 *
 * The path is always the whole one as the caller wrote it (`BlockDeviceMapping.1.Ebs.VolumeSize`).
 */
import { AwsError } from "../errors.ts";
import type { QueryFlavour } from "../schema/shape.ts";

export type ParameterFault = "missing" | "unknown" | "invalid" | "malformed";

const ec2Codes: Readonly<Record<ParameterFault, string>> = {
  missing: "MissingParameter",
  unknown: "UnknownParameter",
  invalid: "InvalidParameterValue",
  malformed: "MalformedQueryString",
};

export function parameterError(
  flavour: QueryFlavour,
  fault: ParameterFault,
  message: string,
): AwsError {
  const code = flavour === "ec2" || fault === "malformed" ? ec2Codes[fault] : "ValidationError";
  return new AwsError(code, message);
}

/** A value for an error message: never longer than is useful, never with control characters. */
export function quoted(value: string): string {
  const shown = value.length > 64 ? `${value.slice(0, 64)}…` : value;
  // deno-lint-ignore no-control-regex
  return `'${shown.replace(/[\u0000-\u001f\u007f]/g, "�")}'`;
}
