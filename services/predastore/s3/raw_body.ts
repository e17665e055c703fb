/**
 * The bytes of a request's body as they come. A client that stops sending is cut off.
 *
 * A long body is read into memory of ours (a BYOB reader), which goes round: left to itself the HTTP
 * server makes 64 KiB of fresh memory for each read, and a read brings one TLS record of 16 KiB. That was
 * half of all that receiving costs.
 */
import { AwsError } from "../../aws/errors.ts";
import type { BodySource } from "../encryption/body_source.ts";
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

type Incoming = Pick<S3Call, "request" | "watch">;

/** The reader of a long body; undefined for one that comes as it is. */
function byobReader({ body, headers }: Request): ReadableStreamBYOBReader | undefined {
  const length = Number(headers.get("content-length") ?? gathered_bytes);
  if (body === null || !(length > short_bytes)) return undefined;
  try {
    return body.getReader({ mode: "byob" });
  } catch (error) {
    // One that the server has whole already.
    if (error instanceof TypeError) return undefined;
    throw error;
  }
}

/**
 * A long body, to be read into the caller's memory; undefined for others, which `rawBody` gives.
 * What is read throws `IncompleteBody` or `RequestTimeout`.
 */
export function filledBody({ request, watch }: Incoming): BodySource | undefined {
  const reader = byobReader(request);
  if (reader === undefined) return undefined;
  let late = false;
  let ended = false;
  const cancel = () => void reader.cancel().catch(() => {});
  const watched = watch.begin(() => {
    late = true;
    cancel();
  });
  return {
    async fill(memory, filled) {
      try {
        while (!ended && filled < memory.byteLength) {
          const { value, done } = await reader.read(new Uint8Array(memory, filled));
          if (late) throw tooSlow();
          // A read takes the memory and gives it back under another name, but not when it is cut off.
          if (value === undefined) throw incomplete();
          memory = value.buffer;
          filled += value.length;
          watched.progress();
          ended = done;
        }
        return { memory, filled };
      } catch (cause) {
        throw cause instanceof AwsError ? cause : incomplete(cause);
      }
    },
    close() {
      watched.end();
      if (!ended) cancel();
    },
  };
}

/** The pieces of a body, each valid until the next one is asked for. @throws AwsError `IncompleteBody`, `RequestTimeout` */
export async function* rawBody(call: Incoming): AsyncGenerator<Uint8Array> {
  const source = filledBody(call);
  if (source === undefined) {
    yield* asItComes(call);
    return;
  }
  const length = Number(call.request.headers.get("content-length") ?? gathered_bytes);
  let memory = new ArrayBuffer(Math.min(length, gathered_bytes));
  try {
    while (true) {
      const read = await source.fill(memory, 0);
      memory = read.memory;
      if (read.filled === 0) break;
      yield new Uint8Array(memory, 0, read.filled);
    }
    freeMemory(new Uint8Array(memory));
  } finally {
    source.close();
  }
}

async function* asItComes({ request, watch }: Incoming): AsyncGenerator<Uint8Array> {
  if (request.body === null) return;
  const reader = request.body.getReader();
  let late = false;
  const cancel = () => void reader.cancel().catch(() => {});
  const watched = watch.begin(() => {
    late = true;
    cancel();
  });
  let ended = false;
  try {
    while (!ended) {
      const { value } = await reader.read();
      if (late) throw tooSlow();
      watched.progress();
      if (value === undefined) ended = true;
      else yield value;
    }
  } catch (cause) {
    throw cause instanceof AwsError ? cause : incomplete(cause);
  } finally {
    watched.end();
    if (!ended) cancel();
  }
}
