/** STS: who is calling, and whose a key is. */
import type * as Sts from "@aws-sdk/client-sts";
import { AwsError } from "../aws/errors.ts";
import { type Call, demand, invalid, type OnBus } from "./call.ts";

/** Needs no permission, and no policy can take it away, as on AWS. */
export function getCallerIdentity(
  _input: OnBus<Sts.GetCallerIdentityCommandInput>,
  { caller }: Call,
): OnBus<Sts.GetCallerIdentityCommandOutput> {
  return { UserId: caller.id, Account: caller.account_id, Arn: caller.arn };
}

export function getAccessKeyInfo(
  input: OnBus<Sts.GetAccessKeyInfoCommandInput>,
  call: Call,
): OnBus<Sts.GetAccessKeyInfoCommandOutput> {
  demand(call, "sts:GetAccessKeyInfo", "*");
  const accessKeyId = input.AccessKeyId ?? "";
  if (!/^\w{16,128}$/.test(accessKeyId)) {
    throw invalid("The specified value for accessKeyId is invalid.");
  }
  const key = call.state.accessKey(accessKeyId)?.value;
  if (key === undefined) {
    throw new AwsError("InvalidClientTokenId", "The access key does not exist.", { status: 403 });
  }
  return { Account: key.account_id };
}
