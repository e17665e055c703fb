/**
 * A request's body on its way into the store: `aws-chunked` framing taken off, and held against
 * everything that the client said of it (length, SHA-256, MD5, checksum, trailers) before it is made
 * visible. The digests run on other threads while the body is written.
 */
import { Digest } from "../../../ffi/libcrypto.ts";
import { AwsChunkedDecoder, chunkedMode } from "../../aws/signatures/chunked.ts";
import { AwsError } from "../../aws/errors.ts";
import type { BodySource } from "../encryption/body_source.ts";
import { isCustomers } from "../encryption/customer_seal.ts";
import type { BodyDigest } from "../extents/extent_writer.ts";
import type { ChecksumMeta, ObjectMeta, Seal } from "../index/rows.ts";
import type { IncomingBody } from "../objects/bodies.ts";
import {
  DetailedError,
  isSystem,
  largestDocument_bytes,
  notImplementedHeader,
  type S3Call,
} from "./call.ts";
import {
  type Algorithm,
  badDigest,
  type ClaimedChecksum,
  claimedChecksum,
  defaultAlgorithm,
  startChecksum,
  trailedChecksum,
} from "./checksums.ts";
import { customerKey } from "./customer_keys.ts";
import { refuseKeyPairs } from "./payload_form.ts";
import { keptChecksum } from "./sealed_checksums.ts";
import { filledBody, incomplete, rawBody } from "./raw_body.ts";

export const largestPut_bytes = 5 * 2 ** 30;

const entityTooLarge = (proposed: number) =>
  new DetailedError("EntityTooLarge", "Your proposed upload exceeds the maximum allowed size", {
    elements: { ProposedSize: String(proposed), MaxSizeAllowed: String(largestPut_bytes) },
  });

const missingLength = () =>
  new AwsError("MissingContentLength", "You must provide the Content-Length HTTP header.", {
    status: 411,
  });

function lengthOf(value: string | null): number | undefined {
  if (value === null) return undefined;
  if (!/^\d{1,15}$/.test(value)) throw missingLength();
  return Number(value);
}

/** The Content-MD5 header. @throws AwsError `InvalidDigest` */
function claimedMd5(headers: Headers): string | undefined {
  const value = headers.get("content-md5");
  if (value === null) return undefined;
  try {
    if (Uint8Array.fromBase64(value).length === 16) return value;
  } catch {
    // Falls through to the error for every malformed value.
  }
  throw new DetailedError("InvalidDigest", "The Content-MD5 you specified was invalid.", {
    elements: { "Content-MD5": value },
  });
}

/**
 * A document that AWS takes only with a digest of it. Who writes for somebody else, signing nothing, brings none.
 * @throws AwsError `InvalidRequest`
 */
export function needsDigest({ headers, verified }: S3Call): void {
  if (verified === undefined || verified.signature === "") return;
  if (claimedChecksum(headers) !== undefined || headers.has("content-md5")) return;
  throw new AwsError(
    "InvalidRequest",
    "Missing required header for this request: Content-MD5 OR x-amz-checksum-*",
  );
}

/** An ETag that tells nothing of the content: of the system's objects, and of those under keys of clients' own. */
export const otherEtag = () => crypto.randomUUID().replaceAll("-", "");

export interface BodyOptions {
  readonly headers: ObjectMeta["headers"];
  readonly user: ObjectMeta["user"];
  readonly tags?: ObjectMeta["tags"];
  readonly lock?: ObjectMeta["lock"];
  readonly storage_class?: ObjectMeta["storage_class"];
  /** The key under which the body is sealed. */
  readonly seal?: Seal | undefined;
  /** A checksum to compute even though the client names none: that of its multipart upload. */
  readonly checksum?: Algorithm;
  /** Computed besides a checksum of another algorithm that the client names. */
  readonly whole?: Algorithm;
}

/**
 * What is computed of a body that brings no checksum: nothing of the system's own, which is checksummed in
 * the store.
 */
/** An object's MD5 that does not fit is told in hex, a document's as it was sent. */
type Told = "hex" | "sent";

export const usualChecksum = (call: S3Call): Pick<BodyOptions, "checksum"> =>
  isSystem(call) ? {} : { checksum: defaultAlgorithm };

/**
 * Prepares a body for the store; `from` where it is not the request's own, but a part of it.
 * Dispose of it when the store is done with it.
 */
export function incomingBody(
  call: S3Call,
  options: BodyOptions,
  from?: AsyncIterable<Uint8Array>,
  told: Told = "hex",
): IncomingBody & Disposable {
  const { headers, verified } = call;
  refuseKeyPairs(verified?.payload_hash);
  const mode = chunkedMode(verified?.payload_hash);
  const expected = lengthOf(
    headers.get(mode === undefined ? "content-length" : "x-amz-decoded-content-length"),
  );
  if (expected === undefined && from === undefined && !isSystem(call)) {
    // A body of unknown length is taken only where it tells the length of what is in it.
    if (mode === undefined && headers.has("transfer-encoding")) {
      throw notImplementedHeader("Transfer-Encoding");
    }
    throw missingLength();
  }
  if ((expected ?? 0) > largestPut_bytes) throw entityTooLarge(expected ?? 0);
  const md5Claim = claimedMd5(headers);
  const claimed: ClaimedChecksum | undefined = claimedChecksum(headers) ??
    (options.checksum === undefined
      ? undefined
      : { algorithm: options.checksum, value: undefined });
  const sha256Claim = /^[0-9a-f]{64}$/i.test(verified?.payload_hash ?? "")
    ? verified?.payload_hash?.toLowerCase()
    : undefined;
  const decoder = mode === undefined ? undefined : new AwsChunkedDecoder({
    mode,
    ...(verified === undefined ? {} : { signing: verified }),
    ...(expected === undefined ? {} : { decoded_length: expected }),
    trailer_names: (headers.get("x-amz-trailer") ?? "").toLowerCase().split(",")
      .map((name) => name.trim()).filter((name) => name !== ""),
  });
  // The system's own objects are checksummed in the store; an MD5 would only slow them down.
  const customer_key = isCustomers(options.seal) ? customerKey(headers) : undefined;
  // An ETag that is not the MD5 needs none.
  const tellsMd5 = !isSystem(call) && customer_key === undefined;
  const md5 = tellsMd5 || md5Claim !== undefined ? new Digest("md5") : undefined;
  const sha256 = sha256Claim === undefined ? undefined : new Digest("sha256");
  const checksum = claimed === undefined ? undefined : startChecksum(claimed.algorithm);
  const whole = options.whole === undefined || claimed?.algorithm === options.whole
    ? undefined
    : startChecksum(options.whole);
  const digests = [md5, sha256, checksum, whole].filter((one) => one !== undefined) as BodyDigest[];

  async function* chunks(): AsyncGenerator<Uint8Array> {
    let size = 0;
    for await (const bytes of from ?? rawBody(call)) {
      if (decoder === undefined) {
        size += bytes.length;
        if (size > largestPut_bytes) throw entityTooLarge(size);
        yield bytes;
      } else {
        for (const view of decoder.push(bytes)) yield view;
        if (decoder.received_bytes > largestPut_bytes) throw entityTooLarge(decoder.received_bytes);
      }
    }
  }

  /** As it comes into the reader's memory, where nothing is taken off. */
  function source(): BodySource | undefined {
    if (from !== undefined || decoder !== undefined) return undefined;
    const raw = filledBody(call);
    let size = 0;
    return raw && {
      async fill(memory, filled) {
        const read = await raw.fill(memory, filled);
        size += read.filled - filled;
        if (size > largestPut_bytes) throw entityTooLarge(size);
        return read;
      },
      close: () => raw.close(),
    };
  }

  return {
    chunks: chunks(),
    source,
    digests,
    ...(expected === undefined ? {} : { expected_bytes: expected }),
    ...(options.seal === undefined ? {} : { seal: options.seal }),
    ...(customer_key === undefined ? {} : { customer_key }),
    async finish(size) {
      const trailers = decoder?.finish() ?? new Map<string, string>();
      if (expected !== undefined && size !== expected) throw incomplete();
      const sha256Value = sha256 === undefined ? undefined : (await sha256.finish()).toHex();
      if (sha256Value !== undefined && sha256Claim !== undefined && sha256Value !== sha256Claim) {
        throw new DetailedError(
          "XAmzContentSHA256Mismatch",
          "The provided 'x-amz-content-sha256' header does not match what was computed.",
          {
            elements: {
              ClientComputedContentSHA256: sha256Claim,
              S3ComputedContentSHA256: sha256Value,
            },
          },
        );
      }
      const md5Value = md5 === undefined ? undefined : await md5.finish();
      const md5Text = md5Value?.toBase64() ?? "";
      if (md5Claim !== undefined && md5Text !== md5Claim) {
        throw new DetailedError(
          "BadDigest",
          "The Content-MD5 you specified did not match what we received.",
          {
            elements: {
              CalculatedDigest: md5Text,
              ExpectedDigest: told === "sent" ? md5Claim : Uint8Array.fromBase64(md5Claim).toHex(),
            },
          },
        );
      }
      let made: ChecksumMeta | undefined;
      if (claimed !== undefined && checksum !== undefined) {
        const value = (await checksum.finish()).toBase64();
        const said = trailedChecksum(claimed, trailers);
        if (said !== undefined && said !== value) throw badDigest(claimed.algorithm);
        made = {
          algorithm: claimed.algorithm,
          type: "FULL_OBJECT",
          value,
          ...(whole === undefined ? {} : { whole: (await whole.finish()).toBase64() }),
        };
      }
      return {
        etag: customer_key === undefined && md5Value !== undefined ? md5Value.toHex() : otherEtag(),
        meta: {
          headers: options.headers,
          user: options.user,
          ...(options.tags === undefined ? {} : { tags: options.tags }),
          ...(options.lock === undefined ? {} : { lock: options.lock }),
          ...(options.storage_class === undefined ? {} : { storage_class: options.storage_class }),
          ...(made === undefined ? {} : { checksum: keptChecksum(headers, options.seal, made) }),
        },
      };
    },
    [Symbol.dispose]() {
      md5?.[Symbol.dispose]();
      sha256?.[Symbol.dispose]();
      checksum?.[Symbol.dispose]();
      whole?.[Symbol.dispose]();
    },
  };
}

/** A small document as text, held against what the client said of it. */
export async function readDocument(call: S3Call): Promise<string> {
  using body = incomingBody(call, { headers: {}, user: {} }, undefined, "sent");
  const parts: Uint8Array<ArrayBuffer>[] = [];
  let size = 0;
  for await (const chunk of body.chunks) {
    size += chunk.length;
    if (size > largestDocument_bytes) {
      throw new AwsError("MaxMessageLengthExceeded", "Your request was too large.");
    }
    const copy = new Uint8Array(chunk);
    for (const digest of body.digests) await digest.update(copy);
    parts.push(copy);
  }
  await body.finish(size);
  return new TextDecoder().decode(Buffer.concat(parts));
}
