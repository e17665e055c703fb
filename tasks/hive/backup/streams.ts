/**
 * JetStream streams as nats-server's own snapshots: every message with its sequence, so that a restored
 * bucket has the revisions that it had. A snapshot is one moment of one stream; consumers are not part
 * of it, since every service makes its own.
 */
import { createInbox, type NatsConnection } from "@nats-io/transport-node";
import { operatorName } from "../../init/bus_permissions.ts";
import { CommandError } from "../../terminal/command.ts";

const decoder = new TextDecoder();
const encoder = new TextEncoder();
const patience_ms = 30_000;

/** What the server says of a stream: kept as it is and given back at the restore. */
export interface StreamPicture {
  readonly config: Readonly<Record<string, unknown>>;
  readonly state: { readonly messages: number; readonly last_seq: number };
}

export interface StreamSnapshot extends StreamPicture {
  readonly name: string;
  readonly data: Uint8Array<ArrayBuffer>;
}

interface ApiAnswer {
  readonly error?: { readonly description?: string; readonly code?: number };
}

async function api<T>(
  nats: NatsConnection,
  subject: string,
  body: unknown,
): Promise<T & ApiAnswer> {
  const reply = await nats.request(subject, encoder.encode(JSON.stringify(body)), {
    timeout: patience_ms,
  });
  return JSON.parse(decoder.decode(reply.data));
}

function must<T extends ApiAnswer>(what: string, answer: T): T {
  if (answer.error === undefined) return answer;
  throw new CommandError(`${what}: the state store said "${answer.error.description ?? "?"}".`);
}

export async function streamNames(nats: NatsConnection): Promise<string[]> {
  const names: string[] = [];
  while (true) {
    const page = must(
      "The streams cannot be listed",
      await api<{ total: number; streams: string[] | null }>(nats, "$JS.API.STREAM.NAMES", {
        offset: names.length,
      }),
    );
    names.push(...page.streams ?? []);
    if (names.length >= page.total || (page.streams ?? []).length === 0) return names.sort();
  }
}

export async function streamPicture(nats: NatsConnection, name: string): Promise<StreamPicture> {
  return must(
    `Stream ${name} does not tell its state`,
    await api<StreamPicture>(nats, `$JS.API.STREAM.INFO.${name}`, {}),
  );
}

/** @throws CommandError when the store ends the snapshot without having sent it whole */
export async function snapshotStream(nats: NatsConnection, name: string): Promise<StreamSnapshot> {
  // Where the operator may listen.
  const inbox = createInbox(`_INBOX.${operatorName}`);
  const subscription = nats.subscribe(inbox);
  try {
    const picture = must(
      `Stream ${name} cannot be saved`,
      await api<StreamPicture>(nats, `$JS.API.STREAM.SNAPSHOT.${name}`, {
        deliver_subject: inbox,
        no_consumers: true,
        chunk_size: 128 * 1024,
      }),
    );
    const chunks: Uint8Array<ArrayBuffer>[] = [];
    const limit = setTimeout(() => subscription.unsubscribe(), patience_ms);
    let whole = false;
    for await (const message of subscription) {
      if (message.data.length === 0) {
        const status = message.headers?.code ?? 0;
        whole = status === 0 || status === 204;
        break;
      }
      chunks.push(new Uint8Array(message.data));
      message.respond();
    }
    clearTimeout(limit);
    if (!whole) {
      throw new CommandError(`Saving stream ${name} broke off; run the backup again.`);
    }
    const data = new Uint8Array(await new Blob(chunks).arrayBuffer());
    return { name, config: picture.config, state: picture.state, data };
  } finally {
    subscription.unsubscribe();
  }
}

const restoreChunk_bytes = 512 * 1024;

/** Makes the stream again. @throws CommandError, also when it came out another than it was */
export async function restoreStream(
  nats: NatsConnection,
  { name, config, state, data }: StreamSnapshot,
): Promise<void> {
  const { deliver_subject } = must(
    `Stream ${name} cannot be restored`,
    await api<{ deliver_subject: string }>(nats, `$JS.API.STREAM.RESTORE.${name}`, {
      config,
      state,
    }),
  );
  for (let at = 0; at < data.length; at += restoreChunk_bytes) {
    const reply = await nats.request(
      deliver_subject,
      data.subarray(at, at + restoreChunk_bytes),
      { timeout: patience_ms },
    );
    if (reply.data.length > 0) must(`Stream ${name}`, JSON.parse(decoder.decode(reply.data)));
  }
  const end = await nats.request(deliver_subject, new Uint8Array(0), { timeout: patience_ms });
  const made = must(`Stream ${name} cannot be restored`, JSON.parse(decoder.decode(end.data)));
  if (made.state?.messages !== state.messages || made.state?.last_seq !== state.last_seq) {
    throw new CommandError(
      `Stream ${name} has ${made.state?.messages} messages after the restore and had ${state.messages}.`,
    );
  }
}
