/**
 * Decodes `aws-chunked` bodies as they arrive, signed or not, with or without trailers.
 *
 * Push the bytes in any slices; the payload comes out as views into them, without a copy. Views of a
 * signed chunk are handed out *before* its signature is known to be right (a chunk may be gigabytes):
 * nothing that was written may be made visible until `finish()` has returned. Every fault is an
 * `AwsError`, after which the decoder refuses all further use.
 */
import { createHash, createHmac, type Hash, timingSafeEqual } from "node:crypto";
import { AwsError } from "../errors.ts";
import { signatureDiffers } from "./s3_claims.ts";
import { credentialScope, type Verified } from "./sigv4.ts";

/** How a body announced itself in `x-amz-content-sha256`. */
export interface ChunkedMode {
  readonly signed: boolean;
  readonly trailer: boolean;
}

const modes: Readonly<Record<string, ChunkedMode>> = {
  "STREAMING-AWS4-HMAC-SHA256-PAYLOAD": { signed: true, trailer: false },
  "STREAMING-AWS4-HMAC-SHA256-PAYLOAD-TRAILER": { signed: true, trailer: true },
  "STREAMING-UNSIGNED-PAYLOAD-TRAILER": { signed: false, trailer: true },
};

/** The mode of an `x-amz-content-sha256`, or nothing where the body is not `aws-chunked`. */
export function chunkedMode(payload_hash: string | undefined): ChunkedMode | undefined {
  return payload_hash !== undefined && Object.hasOwn(modes, payload_hash)
    ? modes[payload_hash]
    : undefined;
}

/** What chunk signatures are chained from: the verified request that carries the body. */
export type ChunkSigning = Pick<Verified, "signing_key" | "scope" | "signature" | "amz_date">;

export interface ChunkedOptions {
  readonly mode: ChunkedMode;
  /** Needed when the mode is signed. */
  readonly signing?: ChunkSigning;
  /** `x-amz-decoded-content-length`. */
  readonly decoded_length?: number;
  /** Names announced in `x-amz-trailer`, lower case. */
  readonly trailer_names?: readonly string[];
}

const emptySha256 = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";
/** A chunk header is a hex size and a signature; trailers are a few checksums. */
const longestLine = 1_024;
const longestTrailer = 8_192;
/** Every chunk is as long as that but for the last. */
const shortestChunk = 8_192;
const cr = 13;
const lf = 10;
const nothing: readonly Uint8Array[] = [];

function chainText(
  signing: ChunkSigning,
  kind: "PAYLOAD" | "TRAILER",
  previous: string,
  of: string,
): string {
  return `AWS4-HMAC-SHA256-${kind}\n${signing.amz_date}\n${
    credentialScope(signing.scope)
  }\n${previous}\n${of}`;
}

const chunkText = (signing: ChunkSigning, previous: string, data_sha256: string) =>
  chainText(signing, "PAYLOAD", previous, `${emptySha256}\n${data_sha256}`);
const trailerText = (signing: ChunkSigning, previous: string, trailer_sha256: string) =>
  chainText(signing, "TRAILER", previous, trailer_sha256);

function signatureOf({ signing_key }: ChunkSigning, text: string): string {
  return createHmac("sha256", signing_key).update(text).digest("hex");
}

/** The signature of one chunk, given the one before it (first: the request's own). */
export function chunkSignature(signing: ChunkSigning, previous: string, data_sha256: string) {
  return signatureOf(signing, chunkText(signing, previous, data_sha256));
}

/** The signature over the trailers, written as `name:value\n` each. */
export function trailerSignature(signing: ChunkSigning, previous: string, trailer_sha256: string) {
  return signatureOf(signing, trailerText(signing, previous, trailer_sha256));
}

function same(expected: string, given: string): boolean {
  return given.length === expected.length &&
    timingSafeEqual(Buffer.from(expected, "latin1"), Buffer.from(given, "latin1"));
}

/** A chunk that is too short was followed by another. */
export class ShortChunk extends AwsError {
  /** @param chunk the one behind it, counted from 1 */
  constructor(readonly chunk: number, readonly size: number) {
    super(
      "InvalidChunkSizeError",
      `Only the last chunk is allowed to have a size less than ${shortestChunk} bytes`,
      { status: 403 },
    );
  }
}

const unexpectedEnd = () =>
  new AwsError("IncompleteBody", "The request body terminated unexpectedly");
const otherLength = () =>
  new AwsError(
    "IncompleteBody",
    "You did not provide the number of bytes specified by the Content-Length HTTP header",
  );
const malformedTrailer = () =>
  new AwsError(
    "MalformedTrailerError",
    "The request contained trailing data that was not well-formed or did not conform to our published schema.",
  );

type Expecting = "header" | "data" | "data_end" | "trailer" | "done" | "failed";

export class AwsChunkedDecoder {
  readonly #mode: ChunkedMode;
  readonly #signing: ChunkSigning | undefined;
  readonly #decodedLength: number | undefined;
  readonly #announced: ReadonlySet<string>;
  #expecting: Expecting = "header";
  /** A header, separator or trailer line that the last slice ended in the middle of. */
  #line = "";
  #left = 0;
  #chunk = 0;
  #size = shortestChunk;
  #received = 0;
  #last = false;
  #hash: Hash | undefined;
  #previous: string;
  #given = "";
  #trailerText = "";
  #trailerSize = 0;
  #trailerSigned = false;
  readonly #trailers = new Map<string, string>();

  constructor(options: ChunkedOptions) {
    if (options.mode.signed && options.signing === undefined) {
      throw new TypeError("a signed body needs the signature it is chained from");
    }
    this.#mode = options.mode;
    this.#signing = options.mode.signed ? options.signing : undefined;
    this.#decodedLength = options.decoded_length;
    this.#announced = new Set(options.trailer_names ?? []);
    this.#previous = options.signing?.signature ?? "";
  }

  /** Payload bytes so far. */
  get received_bytes(): number {
    return this.#received;
  }

  /** Takes the next slice of the body; returns views of the payload in it. */
  push(bytes: Uint8Array): readonly Uint8Array[] {
    if (this.#expecting === "failed") throw unexpectedEnd();
    let found: Uint8Array[] | undefined;
    for (let at = 0; at < bytes.length;) {
      if (this.#expecting === "data") {
        const end = Math.min(bytes.length, at + this.#left);
        const view = bytes.subarray(at, end);
        this.#hash?.update(view);
        this.#left -= view.length;
        this.#received += view.length;
        (found ??= []).push(view);
        at = end;
        if (this.#left === 0) this.#endOfData();
        continue;
      }
      at = this.#takeLine(bytes, at);
    }
    return found ?? nothing;
  }

  /**
   * Call when the body has ended.
   * @returns the trailers, names in lower case
   * @throws AwsError `IncompleteBody` when the body ended early or has another length than declared
   */
  finish(): ReadonlyMap<string, string> {
    if (this.#expecting !== "done") throw this.#fail(unexpectedEnd());
    if (this.#decodedLength !== undefined && this.#received !== this.#decodedLength) {
      throw this.#fail(otherLength());
    }
    return this.#trailers;
  }

  #fail(error: AwsError): AwsError {
    this.#expecting = "failed";
    return error;
  }

  /** Takes bytes up to a line's end; acts on the line when it is whole. */
  #takeLine(bytes: Uint8Array, from: number): number {
    if (this.#expecting === "done") throw this.#fail(unexpectedEnd());
    const end = bytes.indexOf(lf, from);
    const to = end < 0 ? bytes.length : end + 1;
    if (this.#line.length + to - from > longestLine) throw this.#fail(unexpectedEnd());
    let part = "";
    for (let at = from; at < to; at++) part += String.fromCharCode(bytes[at] ?? 0);
    this.#line += part;
    if (end < 0) return to;
    const line = this.#line;
    this.#line = "";
    if (line.charCodeAt(line.length - 2) !== cr) throw this.#fail(unexpectedEnd());
    const text = line.slice(0, -2);
    if (this.#expecting === "header") this.#header(text);
    else if (this.#expecting === "data_end") {
      if (text !== "") throw this.#fail(unexpectedEnd());
      this.#expecting = "header";
    } else this.#trailerLine(text);
    return to;
  }

  #header(text: string): void {
    const match = /^([0-9a-fA-F]{1,12})(?:;chunk-signature=([0-9a-f]{64}))?$/.exec(text);
    if (match === null || (this.#signing !== undefined) !== (match[2] !== undefined)) {
      throw this.#fail(unexpectedEnd());
    }
    this.#left = Number.parseInt(match[1] ?? "", 16);
    this.#given = match[2] ?? "";
    this.#chunk++;
    if (this.#left > 0 && this.#size < shortestChunk) {
      throw this.#fail(new ShortChunk(this.#chunk, this.#size));
    }
    this.#size = this.#left;
    if (
      this.#decodedLength !== undefined && this.#received + this.#left > this.#decodedLength
    ) throw this.#fail(otherLength());
    if (this.#signing !== undefined) this.#hash = createHash("sha256");
    if (this.#left === 0) {
      this.#last = true;
      this.#endOfData();
    } else this.#expecting = "data";
  }

  #endOfData(): void {
    if (this.#signing !== undefined) {
      const text = chunkText(this.#signing, this.#previous, this.#hash?.digest("hex") ?? "");
      this.#previous = this.#signatureOver(this.#signing, text, this.#given);
    }
    this.#expecting = this.#last ? "trailer" : "data_end";
  }

  /** @throws AwsError `SignatureDoesNotMatch` where the given one is not that */
  #signatureOver(signing: ChunkSigning, text: string, given: string): string {
    const expected = signatureOf(signing, text);
    if (same(expected, given)) return expected;
    throw this.#fail(signatureDiffers({ scope: signing.scope, signature: given }, text));
  }

  #trailerLine(text: string): void {
    if (text === "") return this.#endOfTrailers();
    this.#trailerSize += text.length;
    const colon = text.indexOf(":");
    const name = text.slice(0, Math.max(0, colon)).trim().toLowerCase();
    const value = text.slice(colon + 1).trim();
    if (!this.#mode.trailer || name === "" || this.#trailerSize > longestTrailer) {
      throw this.#fail(malformedTrailer());
    }
    if (name === "x-amz-trailer-signature") {
      if (this.#signing === undefined || this.#trailerSigned) throw this.#fail(malformedTrailer());
      const digest = createHash("sha256").update(this.#trailerText, "latin1").digest("hex");
      this.#signatureOver(
        this.#signing,
        trailerText(this.#signing, this.#previous, digest),
        value,
      );
      this.#trailerSigned = true;
      return;
    }
    if (this.#trailerSigned || !this.#announced.has(name) || this.#trailers.has(name)) {
      throw this.#fail(malformedTrailer());
    }
    this.#trailers.set(name, value);
    this.#trailerText += `${name}:${value}\n`;
  }

  #endOfTrailers(): void {
    const complete = [...this.#announced].every((name) => this.#trailers.has(name));
    const unsigned = this.#signing !== undefined && this.#mode.trailer && !this.#trailerSigned &&
      this.#trailers.size > 0;
    if (!complete || unsigned) throw this.#fail(malformedTrailer());
    this.#expecting = "done";
  }
}
