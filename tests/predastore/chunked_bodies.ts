/** Requests with `aws-chunked` bodies made by hand, over TLS: right, or wrong wherever a test makes them so. */
import { createHash, createHmac } from "node:crypto";
import { Agent, request as https } from "node:https";
import {
  chunkedMode,
  chunkSignature,
  type ChunkSigning,
  trailerSignature,
} from "../../services/aws/signatures/chunked.ts";
import { credentialScope, deriveSigningKey } from "../../services/aws/signatures/sigv4.ts";
import { accounts, type TestPredastore } from "../kit/predastore.ts";
import type { Came } from "./open_door.ts";

type Bytes = Uint8Array<ArrayBuffer>;

export const forms = {
  signed: "STREAMING-AWS4-HMAC-SHA256-PAYLOAD",
  signedTrailer: "STREAMING-AWS4-HMAC-SHA256-PAYLOAD-TRAILER",
  unsignedTrailer: "STREAMING-UNSIGNED-PAYLOAD-TRAILER",
} as const;

export interface ChunkedPut {
  readonly target: string;
  readonly form: string;
  readonly chunks: readonly Bytes[];
  readonly trailers?: readonly (readonly [name: string, value: string])[];
  /** Instead of what fits the chunks, or besides; without a value, left out. */
  readonly headers?: Readonly<Record<string, string | undefined>>;
  /** What becomes of the framed body. */
  readonly spoil?: (body: Bytes) => Bytes;
  /** Sends the body in slices of this, without its length. */
  readonly slices?: number;
}

const sha256 = (of: Uint8Array | string) => createHash("sha256").update(of).digest("hex");
const bytesOf = (text: string) => Buffer.from(text, "latin1");

/** The body as it stands on the wire, each chunk and the trailers signed where the form has it so. */
function framed({ form, chunks, trailers = [] }: ChunkedPut, signing: ChunkSigning): Bytes {
  const { signed = false, trailer = false } = chunkedMode(form) ?? {};
  const parts: Uint8Array[] = [];
  let previous = signing.signature;
  for (const chunk of [...chunks, new Uint8Array()]) {
    previous = chunkSignature(signing, previous, sha256(chunk));
    const extension = signed ? `;chunk-signature=${previous}` : "";
    parts.push(bytesOf(`${chunk.length.toString(16)}${extension}\r\n`), chunk);
    if (chunk.length > 0) parts.push(bytesOf("\r\n"));
  }
  for (const [name, value] of trailers) parts.push(bytesOf(`${name}:${value}\r\n`));
  if (signed && trailer && trailers.length > 0) {
    const text = trailers.map(([name, value]) => `${name}:${value}\n`).join("");
    const signature = trailerSignature(signing, previous, sha256(text));
    parts.push(bytesOf(`x-amz-trailer-signature:${signature}\r\n`));
  }
  parts.push(bytesOf("\r\n"));
  return new Uint8Array(Buffer.concat(parts));
}

/** Sends such requests to a predastore. Dispose of it. */
export class ChunkedClient implements Disposable {
  readonly #test: TestPredastore;
  readonly #agent: Agent;

  constructor(test: TestPredastore) {
    this.#test = test;
    this.#agent = new Agent({ ca: test.ca, keepAlive: true });
  }

  async put(request: ChunkedPut): Promise<Came> {
    const { region, ports } = this.#test.node.config;
    const amz_date = new Date().toISOString().replace(/[-:]|\.\d+/g, "");
    const scope = {
      access_key_id: "AKIATEST",
      date: amz_date.slice(0, 8),
      region,
      service: "s3",
    };
    const length = request.chunks.reduce((sum, chunk) => sum + chunk.length, 0);
    const names = (request.trailers ?? []).map(([name]) => name).join(",");
    const headers = Object.entries({
      "content-encoding": "aws-chunked",
      "x-amz-content-sha256": request.form,
      "x-amz-date": amz_date,
      "x-amz-decoded-content-length": String(length),
      ...(names === "" ? {} : { "x-amz-trailer": names }),
      ...request.headers,
    }).filter((one): one is [string, string] => one[1] !== undefined);
    const signed = [...headers, ["host", `localhost:${ports.s3}`] as const].toSorted();
    const signedNames = signed.map(([name]) => name).join(";");
    const canonical = [
      "PUT",
      request.target,
      "",
      ...signed.map(([name, value]) => `${name}:${value}`),
      "",
      signedNames,
      request.form,
    ].join("\n");
    const signing_key = deriveSigningKey(accounts.AKIATEST.secret, scope);
    const text = ["AWS4-HMAC-SHA256", amz_date, credentialScope(scope), sha256(canonical)];
    const signature = createHmac("sha256", signing_key).update(text.join("\n")).digest("hex");
    const whole = framed(request, { signing_key, scope, signature, amz_date });
    const body = request.spoil?.(whole) ?? whole;
    return await this.#send(request, body, {
      ...Object.fromEntries(headers),
      authorization: `AWS4-HMAC-SHA256 Credential=${scope.access_key_id}/${
        credentialScope(scope)
      },SignedHeaders=${signedNames},Signature=${signature}`,
    });
  }

  #send({ target, slices }: ChunkedPut, body: Bytes, headers: Record<string, string>) {
    const { promise, resolve, reject } = Promise.withResolvers<Came>();
    const sent = https(`${this.#test.endpoint}${target}`, {
      method: "PUT",
      agent: this.#agent,
      headers: slices === undefined ? { ...headers, "content-length": body.length } : headers,
    }, (answer) => {
      const parts: Uint8Array[] = [];
      answer.on("data", (part: Uint8Array) => parts.push(part)).on("error", reject);
      answer.on("end", () =>
        resolve({
          status: answer.statusCode ?? 0,
          headers: new Headers(answer.headers as Record<string, string>),
          text: Buffer.concat(parts).toString(),
        }));
    });
    sent.on("error", reject);
    const size = slices ?? body.length;
    for (let at = 0; at < body.length; at += size) sent.write(body.subarray(at, at + size));
    sent.end();
    return promise;
  }

  [Symbol.dispose](): void {
    this.#agent.destroy();
  }
}
