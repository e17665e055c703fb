/** Requests signed by the SDK's own signer, as they arrive, and what is to be seen of how they were taken. */
import { createHash, createHmac } from "node:crypto";
import { SignatureV4 } from "@smithy/signature-v4";
import { AwsError } from "../../services/aws/errors.ts";
import {
  deriveSigningKey,
  type SigningGrant,
  type SigningScope,
} from "../../services/aws/signatures/sigv4.ts";

/** The hash, keyed or not, that the official signer wants to be given. */
export class Sha256 {
  readonly #state;
  constructor(secret?: unknown) {
    this.#state = secret === undefined
      ? createHash("sha256")
      : createHmac("sha256", secret as string);
  }
  update(data: string | Uint8Array) {
    this.#state.update(data);
  }
  digest() {
    return Promise.resolve(new Uint8Array(this.#state.digest()));
  }
  reset() {}
}

/** Tells the signing key of any scope, as identity does, from that secret. */
export const lookupWith = (secret: string) => (scope: SigningScope): Promise<SigningGrant> =>
  Promise.resolve({
    key: Buffer.from(deriveSigningKey(secret, scope)).toString("base64"),
    account_id: "123456789012",
    principal_arn: "arn:aws:iam::123456789012:user/test",
    user_id: "AIDAEXAMPLE",
    valid_until_ms: Date.now() + 60_000,
  });

export const sha256 = (text: string | Uint8Array) =>
  createHash("sha256").update(text).digest("hex");

export async function codeOf(work: Promise<unknown>): Promise<string> {
  try {
    await work;
  } catch (error) {
    if (error instanceof AwsError) return `${error.code} ${error.status}`;
    throw error;
  }
  return "accepted";
}

/** The presigned example of the S3 documentation: 24 May 2013, for a day. */
export const presignedTarget =
  "/test.txt?X-Amz-Algorithm=AWS4-HMAC-SHA256&X-Amz-Credential=AKIAIOSFODNN7EXAMPLE%2F20130524%2Fus-east-1%2Fs3%2Faws4_request&X-Amz-Date=20130524T000000Z&X-Amz-Expires=86400&X-Amz-SignedHeaders=host&X-Amz-Signature=aeeed9bbccd4d02ee5c0109b86d86835f995330da4c265957d157751f604d404";

export interface Case {
  readonly name: string;
  readonly service: string;
  readonly method?: string;
  readonly path: string;
  readonly query?: Record<string, string | string[]>;
  readonly headers?: Record<string, string>;
  readonly body?: string;
}

export const now = new Date("2026-11-21T10:00:00Z");
export const signer = (service: string, secret = "secret") =>
  new SignatureV4({
    credentials: { accessKeyId: "AKIATEST", secretAccessKey: secret },
    region: "ap-southeast-2",
    service,
    sha256: Sha256,
    uriEscapePath: service !== "s3",
    applyChecksum: service === "s3",
  });

function targetOf(path: string, query: Record<string, string | string[]> | undefined): string {
  const pairs = Object.entries(query ?? {}).flatMap(([name, value]) =>
    [value].flat().map((one) => `${encodeURIComponent(name)}=${encodeURIComponent(one)}`)
  );
  return pairs.length === 0 ? path : `${path}?${pairs.join("&")}`;
}

export function oracleInput(of: Case) {
  return {
    method: of.method ?? "GET",
    protocol: "https:",
    hostname: "localhost",
    port: 9999,
    path: of.path,
    query: of.query ?? {},
    headers: { host: "localhost:9999", ...of.headers },
    ...(of.body === undefined ? {} : { body: of.body }),
  };
}

export const received = (
  of: Case,
  signed: { headers: Record<string, string>; query?: unknown },
) => {
  const headers = new Headers(signed.headers);
  headers.delete("host");
  return {
    method: of.method ?? "GET",
    target: targetOf(of.path, (signed.query ?? of.query) as Case["query"]),
    authority: "localhost:9999",
    headers,
  };
};
