/** Takes apart the form that a browser posts: its fields, gathered within bounds, and then its file as a stream. */
import { AwsError } from "../../aws/errors.ts";
import { invalidArgument } from "./call.ts";

type Bytes = Uint8Array<ArrayBuffer>;

const largestFields_bytes = 20 * 1024;
const mostFields = 100;

export interface PostForm {
  /** By name in lower case, with the file's name where they ask for it. */
  readonly fields: ReadonlyMap<string, string>;
  /** The file's bytes; what comes behind it is read and left. */
  readonly file: AsyncGenerator<Bytes>;
}

const malformed = () =>
  new AwsError(
    "MalformedPOSTRequest",
    "The body of your POST request is not well-formed multipart/form-data.",
  );

function indexOf(bytes: Bytes, of: Bytes, from = 0): number {
  return Buffer.from(bytes.buffer, bytes.byteOffset, bytes.length).indexOf(of, from);
}

const encoder = new TextEncoder();
const decoder = new TextDecoder();

/** Takes a stream apart at marks, holding little more than a mark. */
class Reader {
  readonly #chunks: AsyncIterator<Uint8Array>;
  #held: Bytes = new Uint8Array(0);
  #ended = false;

  constructor(chunks: AsyncIterable<Uint8Array>) {
    this.#chunks = chunks[Symbol.asyncIterator]();
  }

  async #more(): Promise<boolean> {
    if (this.#ended) return false;
    const { value, done } = await this.#chunks.next();
    if (done === true) {
      this.#ended = true;
      return false;
    }
    this.#held = new Uint8Array(Buffer.concat([this.#held, value]));
    return true;
  }

  /** All up to the mark, which is taken too. @throws when it is longer than `most` or never comes */
  async until(mark: Bytes, most: number): Promise<Bytes> {
    for (;;) {
      const at = indexOf(this.#held, mark);
      if (at >= 0 && at <= most) {
        const before = this.#held.slice(0, at);
        this.#held = this.#held.slice(at + mark.length);
        return before;
      }
      if (at > most || this.#held.length > most + mark.length) {
        throw new AwsError(
          "MaxPostPreDataLengthExceededError",
          "Your POST request fields preceding the upload file were too large.",
        );
      }
      if (!await this.#more()) throw malformed();
    }
  }

  /** Bytes up to the mark, as they come. */
  async *stream(mark: Bytes): AsyncGenerator<Bytes> {
    for (;;) {
      const at = indexOf(this.#held, mark);
      if (at >= 0) {
        if (at > 0) yield this.#held.slice(0, at);
        this.#held = this.#held.slice(at + mark.length);
        break;
      }
      const sure = this.#held.length - mark.length + 1;
      if (sure > 0) {
        yield this.#held.slice(0, sure);
        this.#held = this.#held.slice(sure);
      }
      if (!await this.#more()) {
        throw new AwsError(
          "IncompleteBody",
          "The body of your POST request ended before the file did.",
        );
      }
    }
    while (await this.#more()) this.#held = new Uint8Array(0);
  }
}

/** The fields with the file's name in place of what stands for it; what was signed stays as it is. */
function named(fields: ReadonlyMap<string, string>, file_name: string): Map<string, string> {
  return new Map(
    Array.from(fields, ([name, value]) => [
      name,
      name === "policy" ? value : value.replaceAll("${filename}", () => file_name),
    ]),
  );
}

/** @throws AwsError `MalformedPOSTRequest` and its kin */
export async function readForm(
  contentType: string,
  chunks: AsyncIterable<Uint8Array>,
): Promise<PostForm> {
  const boundary = /;\s*boundary=(?:"([^"]{1,200})"|([^;\s]{1,200}))/i.exec(contentType);
  const name = boundary?.[1] ?? boundary?.[2];
  if (name === undefined) throw malformed();
  const reader = new Reader(chunks);
  const line = encoder.encode("\r\n");
  const mark = encoder.encode(`\r\n--${name}`);
  await reader.until(encoder.encode(`--${name}`), largestFields_bytes);
  const fields = new Map<string, string>();
  let left = largestFields_bytes;
  for (let number = 0; number < mostFields; number++) {
    const rest = decoder.decode(await reader.until(line, 100));
    if (rest.startsWith("--")) break;
    const head = decoder.decode(await reader.until(encoder.encode("\r\n\r\n"), 8 * 1024));
    const disposition = /content-disposition:[^\r\n]*/i.exec(head)?.[0] ?? "";
    const field = /;\s*name="([^"]*)"/i.exec(disposition)?.[1];
    if (field === undefined) throw malformed();
    if (field.toLowerCase() === "file") {
      const path = /;\s*filename="([^"]*)"/i.exec(disposition)?.[1] ?? "";
      return {
        fields: named(fields, path.split(/[/\\]/).at(-1) ?? ""),
        file: reader.stream(mark),
      };
    }
    const value = await reader.until(mark, left);
    left -= value.length;
    fields.set(field.toLowerCase(), decoder.decode(value));
  }
  throw invalidArgument("POST requires exactly one file upload per request.", "file", "0");
}
