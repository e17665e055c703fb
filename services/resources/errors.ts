/** EC2's own errors that every resource shares. Codes and wording are AWS's, since programs match on them. */
import { AwsError } from "../aws/errors.ts";

export const missingParameter = (name: string) =>
  new AwsError("MissingParameter", `The request must contain the parameter ${name}`);

export const invalidValue = (message: string) => new AwsError("InvalidParameterValue", message);

/** AWS's most usual wording: the value, the parameter, and what was expected. */
export const invalidParameter = (name: string, value: unknown, expected: string) =>
  invalidValue(`Value (${String(value)}) for parameter ${name} is invalid. ${expected}`);

export const invalidCombination = (message: string) =>
  new AwsError("InvalidParameterCombination", message);

export const incorrectState = (message: string) => new AwsError("IncorrectState", message);

export const unsupported = (message: string) => new AwsError("UnsupportedOperation", message);

export const dryRunOperation = () =>
  new AwsError("DryRunOperation", "Request would have succeeded, but DryRun flag is set.", {
    status: 412,
  });

export const unauthorizedOperation = (action: string, principal: string) =>
  new AwsError(
    "UnauthorizedOperation",
    `You are not authorized to perform this operation. User: ${principal} is not authorized to perform: ${action}`,
    { status: 403 },
  );
