/** The question that APIs besides EC2's ask for each resource that a request names. */
import { accessDenied } from "../aws/errors.ts";
import type { CallContext } from "../bus/subject.ts";
import type { RegisterOptions } from "../resources/actions.ts";

/** @throws AwsError `AccessDeniedException` with the status that the API has for it */
export async function demand(
  authorize: RegisterOptions["authorize"],
  action: string,
  resource: string,
  call: CallContext,
  status: 400 | 403,
): Promise<void> {
  if (authorize === undefined) return;
  const signal = AbortSignal.timeout(Math.max(1, call.deadline_ms - Date.now()));
  const request = { principal_arn: call.principal_arn, action, resource };
  if (await authorize(request, { ...call, signal })) return;
  throw accessDenied(call.principal_arn, action, status, resource);
}
