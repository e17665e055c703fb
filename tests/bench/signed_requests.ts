/**
 * Signs S3's reading requests as cheaply as one can, for clients that must not cost more than what they measure:
 * whole requests as bytes. A path is taken as it is.
 */
import { createHash, createHmac } from "node:crypto";
import { deriveSigningKey } from "../../services/aws/signatures/sigv4.ts";

export interface Signer {
  readonly access_key_id: string;
  readonly secret: string;
  readonly region: string;
  /** As the `Host` header has it. */
  readonly host: string;
}

const encoder = new TextEncoder();
const signedHeaders = "host;x-amz-content-sha256;x-amz-date";
const unsigned = "UNSIGNED-PAYLOAD";

function encoded(query: Readonly<Record<string, string>>): string {
  return Object.entries(query).sort(([a], [b]) => a < b ? -1 : 1)
    .map(([name, value]) => `${name}=${encodeURIComponent(value)}`).join("&");
}

/** @returns a maker of requests, which are good for a quarter of an hour */
export function requestsOf(signer: Signer) {
  const { access_key_id, host, region, secret } = signer;
  const now = new Date().toISOString().replace(/[-:]|\.\d+/g, "");
  const scope = { date: now.slice(0, 8), region, service: "s3" };
  const key = deriveSigningKey(secret, scope);
  const credential = `${scope.date}/${region}/s3/aws4_request`;
  return (path: string, query: Readonly<Record<string, string>> = {}): Uint8Array => {
    const search = encoded(query);
    const canonical = `GET\n${path}\n${search}\nhost:${host}\n` +
      `x-amz-content-sha256:${unsigned}\nx-amz-date:${now}\n\n${signedHeaders}\n${unsigned}`;
    const hash = createHash("sha256").update(canonical).digest("hex");
    const signature = createHmac("sha256", key)
      .update(`AWS4-HMAC-SHA256\n${now}\n${credential}\n${hash}`).digest("hex");
    return encoder.encode(
      `GET ${path}${search === "" ? "" : `?${search}`} HTTP/1.1\r\nhost: ${host}\r\n` +
        `x-amz-content-sha256: ${unsigned}\r\nx-amz-date: ${now}\r\n` +
        `authorization: AWS4-HMAC-SHA256 Credential=${access_key_id}/${credential}, ` +
        `SignedHeaders=${signedHeaders}, Signature=${signature}\r\n\r\n`,
    );
  };
}
