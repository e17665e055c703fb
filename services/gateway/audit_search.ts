/** Looks in a stream for entries that may have been stored though nobody has heard of it. */
import type { NatsConnection } from "@nats-io/transport-node";

export interface Wanted {
  readonly id: string;
  readonly subject: string;
  /** It is not before this one. */
  readonly sequence: number;
}

interface Stored {
  readonly message?: { readonly seq: number; readonly data?: string };
  readonly error?: { readonly code?: number; readonly description?: string };
}

const answered_ms = 5_000;
/** A stream's answer to who asks for what it does not have. */
const notFound = 404;
/** A subject with more entries since then is not looked through to its end: a second copy of one is the lesser evil. */
const mostLooked = 20_000;

/**
 * The ids of those that are there.
 * @throws Error when the stream does not answer
 */
export async function storedOf(
  nats: NatsConnection,
  stream: string,
  wanted: readonly Wanted[],
): Promise<ReadonlySet<string>> {
  const found = new Set<string>();
  for (const [subject, ones] of Map.groupBy(wanted, (one) => one.subject)) {
    const missing = new Set(ones.map(({ id }) => id));
    let sequence = Math.min(...ones.map((one) => one.sequence)) + 1;
    for (let looked = 0; missing.size > 0 && looked < mostLooked; looked++) {
      const message = await next(nats, stream, subject, sequence);
      if (message === undefined) break;
      sequence = message.sequence + 1;
      if (missing.delete(message.id)) found.add(message.id);
    }
  }
  return found;
}

/** The first entry of the subject from there on. */
async function next(nats: NatsConnection, stream: string, subject: string, sequence: number) {
  const question = JSON.stringify({ seq: sequence, next_by_subj: subject });
  const timeout = { timeout: answered_ms };
  const reply = await nats.request(`$JS.API.STREAM.MSG.GET.${stream}`, question, timeout);
  const { message, error } = reply.json<Stored>();
  if (error?.code === notFound) return undefined;
  if (message === undefined) {
    throw new Error(`The stream ${stream} gives no entry: ${error?.description ?? "no reason"}`);
  }
  const text = new TextDecoder().decode(Uint8Array.fromBase64(message.data ?? ""));
  const { request_id: id = "" }: { readonly request_id?: string } = JSON.parse(text);
  return { id, sequence: message.seq };
}
