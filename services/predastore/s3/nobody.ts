/** Who signs nothing: may what a public policy lets everybody, and is asked about as any other caller. */
import { chunkedMode } from "../../aws/signatures/chunked.ts";
import { AwsError } from "../../aws/errors.ts";
import type { SigningGrant, Verified } from "../../aws/signatures/sigv4.ts";
import { anonymousPrincipal } from "../../identity/contract.ts";
import { accessDenied, anonymousAccount } from "./call.ts";

/** Whether nobody signed. */
export const isNobody = ({ principal_arn }: SigningGrant) => principal_arn === anonymousPrincipal;

/** Nobody can own what would be made. */
export const authenticationNeeded = () =>
  new AwsError("AccessDenied", "Anonymous users cannot invoke this API. Please authenticate.", {
    status: 403,
  });

/** Whoever signs nothing. @throws AwsError `AccessDenied` for a body that claims to be signed */
export function anonymous({ headers }: Request, region: string): Verified {
  const payload_hash = headers.get("x-amz-content-sha256") ?? undefined;
  if (chunkedMode(payload_hash)?.signed === true) throw accessDenied();
  return {
    grant: {
      key: "",
      account_id: anonymousAccount,
      principal_arn: anonymousPrincipal,
      user_id: "",
      valid_until_ms: 0,
    },
    scope: { access_key_id: "", date: "", region, service: "s3" },
    signed_headers: [],
    presigned: false,
    payload_hash,
    signature: "",
    amz_date: "",
    signing_key: new Uint8Array(),
  };
}
