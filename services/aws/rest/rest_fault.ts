/**
 * What is wrong with a REST call, in each service's codes. The message names the parameter by its
 * whole path (`Tags.2.Key`), or by its name where it is a header or in the query.
 */
import { AwsError } from "../errors.ts";
import { quoted } from "../query/parameter_error.ts";

export interface FaultCodes {
  readonly missing: string;
  readonly unknown: string;
  readonly invalid: string;
  /** A body that is no document at all. */
  readonly malformed: string;
  readonly too_large: string;
}

export const jsonFaults: FaultCodes = {
  missing: "ValidationException",
  unknown: "ValidationException",
  invalid: "ValidationException",
  malformed: "SerializationException",
  too_large: "RequestEntityTooLargeException",
};

export const xmlFaults: FaultCodes = {
  missing: "InvalidInput",
  unknown: "InvalidInput",
  invalid: "InvalidInput",
  malformed: "MalformedInput",
  too_large: "RequestEntityTooLarge",
};

export function join(path: string, name: string | number): string {
  return path === "" ? String(name) : `${path}.${name}`;
}

export class RestFaults {
  constructor(readonly codes: FaultCodes) {}

  missing(path: string): AwsError {
    return new AwsError(this.codes.missing, `The request must contain the parameter ${path}`);
  }

  unknown(path: string): AwsError {
    return new AwsError(this.codes.unknown, `The parameter ${quoted(path)} is not recognized`);
  }

  invalid(path: string, value: unknown, what: string): AwsError {
    const shown = typeof value === "string" ? ` (${quoted(value)})` : "";
    return new AwsError(
      this.codes.invalid,
      `Value${shown} for parameter ${path.slice(0, 1_024)} is invalid. ${what}`,
    );
  }

  malformed(message: string, cause?: unknown): AwsError {
    return new AwsError(this.codes.malformed, message, { cause });
  }

  tooLarge(limit_bytes: number): AwsError {
    return new AwsError(
      this.codes.too_large,
      `The request body is larger than the ${limit_bytes} bytes that this call may have.`,
      { status: 413 },
    );
  }
}

/** Deeper than any AWS document, and far from what the stack can hold. */
export const deepest = 64;
