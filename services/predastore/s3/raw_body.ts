/**
 * The bytes of a request's body as they come. A client that stops sending is cut off.
 *
 * A long body is read into memory of ours (a BYOB reader), which goes round: left to itself the HTTP
 * server makes 64 KiB of fresh memory for each read, and a read brings one TLS record of 16 KiB. That was
 * half of all that receiving costs. So a piece is valid until the next one is asked for.
 */
import { AwsError } from "../../aws/errors.ts";
import { freeMemory } from "../extents/piece_memory.ts";
import type { S3Call } from "./call.ts";

/** Reads are gathered to this before they are passed on: each step of the way costs more than a copy. */
const gathered_bytes = 256 * 1024;
/** What is shorter comes at once, and mostly with the request itself. */
const short_bytes = 16 * 1024;

export function incomplete(cause?: unknown): AwsError {
  return new AwsError(
    "IncompleteBody",
    "You did not provide the number of bytes specified by the Content-Length HTTP header",
    { cause },
  );
}

function tooSlow(): AwsError {
  return new AwsError(
    "RequestTimeout",
    "Your socket connection to the server was not read from or written to within the timeout period. Idle connections will be closed.",
  );
}

/** A body that is read; `next` gives a piece, or nothing at its end. */
interface Source {
  next(moved: () => void): Promise<Uint8Array | undefined>;
  cancel(): Promise<void>;
}

function asItComes(body: ReadableStream<Uint8Array>): Source {
  const reader = body.getReader();
  return {
    async next(moved) {
      const { value } = await reader.read();
      moved();
      return value;
    },
    cancel: () => reader.cancel(),
  };
}

function gathered(reader: ReadableStreamBYOBReader, length: number): Source {
  let memory = new ArrayBuffer(Math.min(length, gathered_bytes));
  return {
    async next(moved) {
      let filled = 0;
      while (filled < memory.byteLength) {
        const { value, done } = await reader.read(new Uint8Array(memory, filled));
        // A read takes the memory and gives it back under another name, but not when it is cut off.
        if (value === undefined) return undefined;
        memory = value.buffer;
        if (done) break;
        moved();
        filled += value.length;
      }
      if (filled > 0) return new Uint8Array(memory, 0, filled);
      freeMemory(new Uint8Array(memory));
      return undefined;
    },
    cancel: () => reader.cancel(),
  };
}

function sourceOf(body: ReadableStream<Uint8Array>, headers: Headers): Source {
  const length = Number(headers.get("content-length") ?? gathered_bytes);
  if (!(length > short_bytes)) return asItComes(body);
  let reader: ReadableStreamBYOBReader;
  try {
    reader = body.getReader({ mode: "byob" });
  } catch (error) {
    // One that the server has whole already.
    if (error instanceof TypeError) return asItComes(body);
    throw error;
  }
  return gathered(reader, length);
}

/** @throws AwsError `IncompleteBody`, `RequestTimeout` */
export async function* rawBody(
  call: Pick<S3Call, "request" | "watch">,
): AsyncGenerator<Uint8Array> {
  const { body, headers } = call.request;
  if (body === null) return;
  const source = sourceOf(body, headers);
  let late = false;
  const watched = call.watch.begin(() => {
    late = true;
    void source.cancel().catch(() => {});
  });
  let ended = false;
  try {
    while (!ended) {
      const piece = await source.next(watched.progress);
      if (late) throw tooSlow();
      if (piece === undefined) ended = true;
      else yield piece;
    }
  } catch (cause) {
    throw cause instanceof AwsError ? cause : incomplete(cause);
  } finally {
    watched.end();
    if (!ended) void source.cancel().catch(() => {});
  }
}
