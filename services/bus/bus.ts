/**
 * The bus: typed request/reply and events over NATS.
 *
 * An answer is JSON, or an `AwsError` (code, message, status) in headers. A question carries the
 * caller's context and deadline in headers, so that logs of one API call share its request id in
 * every service. Nobody listening and nobody answering in time both become `ServiceUnavailable`:
 * never a hang. The connection reconnects for ever; what was in flight at a disconnect fails and is
 * the asker's to repeat.
 */
import {
  type ConnectionOptions,
  errors as natsErrors,
  headers as natsHeaders,
  type Msg,
  type MsgHdrs,
  type NatsConnection,
  nkeyAuthenticator,
} from "@nats-io/transport-node";
import { connect } from "@nats-io/transport-node";
import { AwsError, internalError, unavailable } from "../aws/errors.ts";
import { errorFields, inRequest, type Log } from "../log/log.ts";
import {
  digestHeader,
  itemsHeader,
  ListAnswer,
  type ListIndex,
  readListIndex,
} from "./list_answer.ts";
import { type CallContext, type Subject, systemContext, workers } from "./subject.ts";

const contextFields = [
  "request_id",
  "account_id",
  "principal_arn",
  "access_key_id",
  "region",
  "source_ip",
] as const;

/** The time-out of an ordinary call, as `subject` gives it. */
const ordinary_ms = 30_000;

/** How long a question or a write waits for a lost connection: a restart of the server takes less. */
export const reconnect_wait_ms = 5_000;

const encoder = new TextEncoder();
const decoder = new TextDecoder();

function writeContext(context: CallContext): MsgHdrs {
  const to = natsHeaders();
  for (const name of contextFields) {
    if (context[name] !== "") to.set(`mulga-${name}`, context[name]);
  }
  to.set("mulga-deadline_ms", String(context.deadline_ms));
  return to;
}

function readContext(from: MsgHdrs | undefined): CallContext {
  const fields = Object.fromEntries(
    contextFields.map((name) => [name, from?.get(`mulga-${name}`) ?? ""]),
  ) as Record<(typeof contextFields)[number], string>;
  const deadline = Number(from?.get("mulga-deadline_ms"));
  return {
    ...fields,
    request_id: fields.request_id || crypto.randomUUID(),
    deadline_ms: deadline > 0 ? deadline : Date.now() + 30_000,
  };
}

export interface BusOptions {
  readonly service: string;
  readonly url: string;
  readonly log: Log;
  /** The service's nkey seed (`SU…`); absent only in tests of a server without authorisation. */
  readonly seed?: Uint8Array;
}

/** Answers one question. The signal aborts at the asker's deadline. */
export type Handler<Input, Output> = (
  input: Input,
  context: CallContext,
  signal: AbortSignal,
) => Promise<Answer<Output>> | Answer<Output>;

/** An answer as values, or as a list of what was serialized before. */
export type Answer<Output> = Output | ListAnswer<Output>;

/** An answer as it came: JSON, and where the items of its list lie if it was made of them. */
export interface Reply {
  readonly data: Uint8Array;
  readonly index: ListIndex | undefined;
  /** Of a list answer. One that the asker said to have comes without data. */
  readonly digest?: string;
}

function respondList<Output>(message: Msg, answer: ListAnswer<Output>): void {
  const headers = natsHeaders();
  const { digest } = answer;
  headers.set(digestHeader, digest);
  if (message.headers?.get(digestHeader) === digest) {
    message.respond(new Uint8Array(0), { headers });
    return;
  }
  const { data, header } = answer.encode();
  headers.set(itemsHeader, header);
  message.respond(data, { headers });
}

export class Bus implements AsyncDisposable {
  readonly #log: Log;
  readonly #inflight = new Set<Promise<void>>();
  /** Settled while the connection stands; replaced at a disconnect. */
  #connected = Promise.withResolvers<void>();
  #stands = true;
  readonly #onLoss = new Set<() => void>();

  private constructor(readonly connection: NatsConnection, log: Log) {
    this.#log = log;
    this.#connected.resolve();
  }

  /** Connects, waiting for as long as the server is not there yet. */
  static async connect(options: BusOptions): Promise<Bus> {
    const natsOptions: ConnectionOptions = {
      servers: options.url,
      name: options.service,
      inboxPrefix: `_INBOX.${options.service}`,
      maxReconnectAttempts: -1,
      reconnectTimeWait: 250,
      reconnectJitter: 100,
      waitOnFirstConnect: true,
      pingInterval: 10_000,
      // A stack captured for every request costs a third of the request.
      noAsyncTraces: true,
      ...(options.seed === undefined ? {} : { authenticator: nkeyAuthenticator(options.seed) }),
    };
    const connection = await connect(natsOptions);
    const bus = new Bus(connection, options.log);
    void bus.#reportStatus();
    return bus;
  }

  async #reportStatus(): Promise<void> {
    for await (const status of this.connection.status()) {
      if (status.type === "disconnect") {
        this.#stands = false;
        this.#connected = Promise.withResolvers<void>();
        for (const lost of this.#onLoss) lost();
      }
      if (status.type === "reconnect") {
        this.#stands = true;
        this.#connected.resolve();
      }
      if (status.type === "disconnect" || status.type === "reconnect") {
        this.#log.warn(`bus_${status.type}`, { server: status.server });
      } else if (status.type === "error") {
        this.#log.error("bus_error", errorFields(status.error));
      }
    }
  }

  /**
   * Waits for the connection to stand: what is sent while it does not may be lost, and is only
   * missed after its whole time-out.
   * @throws AwsError `ServiceUnavailable` when it does not come back within `timeout_ms`
   */
  async ready(timeout_ms: number): Promise<void> {
    if (this.#stands) return;
    const { promise: late, reject } = Promise.withResolvers<never>();
    const timer = setTimeout(() => reject(unavailable("the bus")), timeout_ms);
    try {
      await Promise.race([this.#connected.promise, late]);
    } finally {
      clearTimeout(timer);
    }
  }

  /**
   * Runs `work`, and gives up on it as soon as the connection is lost: the answer to what was in
   * flight does not come any more. Whether the work took effect is then unknown.
   * @throws AwsError `ServiceUnavailable` when the connection is lost
   */
  async whileConnected<T>(work: () => Promise<T>): Promise<T> {
    const { promise: lost, reject } = Promise.withResolvers<never>();
    const onLoss = () => reject(unavailable("the bus"));
    this.#onLoss.add(onLoss);
    try {
      return await Promise.race([work(), lost]);
    } finally {
      this.#onLoss.delete(onLoss);
    }
  }

  /**
   * Answers a subject until the bus is drained. Calls run concurrently.
   * @param options.queue the queue group; `hive-workers` unless given, `null` for every listener
   */
  answer<Input, Output>(
    subject: Subject<Input, Output>,
    handler: Handler<Input, Output>,
    options: { queue?: string | null } = {},
  ): { close(): Promise<void> } {
    const queue = options.queue === undefined ? workers : options.queue;
    const subscription = this.connection.subscribe(subject.name, {
      ...(queue === null ? {} : { queue }),
      callback: (error, message) => {
        if (error !== null) {
          this.#log.error("bus_subscription_failed", {
            subject: subject.name,
            ...errorFields(error),
          });
          return;
        }
        const work = this.#answerOne(message, handler).finally(() => this.#inflight.delete(work));
        this.#inflight.add(work);
      },
    });
    return { close: () => subscription.drain() };
  }

  async #answerOne<Input, Output>(message: Msg, handler: Handler<Input, Output>): Promise<void> {
    const context = readContext(message.headers);
    await inRequest(context.request_id, async () => {
      const started = performance.now();
      try {
        const left_ms = context.deadline_ms - Date.now();
        if (left_ms <= 0) throw unavailable(message.subject);
        const input = message.data.length === 0
          ? undefined
          : JSON.parse(decoder.decode(message.data));
        const output = await handler(input as Input, context, AbortSignal.timeout(left_ms));
        if (output instanceof ListAnswer) respondList(message, output);
        else message.respond(encoder.encode(JSON.stringify(output ?? null)));
        // The supervisor asks for health every few seconds; everything else is worth a line.
        this.#log[message.subject.startsWith("health.") ? "debug" : "info"]("answered", {
          subject: message.subject,
          duration_ms: Math.round((performance.now() - started) * 100) / 100,
        });
      } catch (cause) {
        const error = cause instanceof AwsError ? cause : internalError(cause);
        if (error.status >= 500) {
          this.#log.error("answer_failed", { subject: message.subject, ...errorFields(cause) });
        } else {
          this.#log.info("answer_refused", { subject: message.subject, code: error.code });
        }
        const headers = natsHeaders();
        headers.set("mulga-error", error.code);
        headers.set("mulga-status", String(error.status));
        const { message: text, reason } = error;
        message.respond(encoder.encode(JSON.stringify({ message: text, reason })), { headers });
      }
    });
  }

  /**
   * Asks and waits for one answer.
   * @throws AwsError what the answerer threw, or `ServiceUnavailable` when nobody answered in time
   */
  async ask<Input, Output>(
    subject: Subject<Input, Output>,
    input: Input,
    context: CallContext = systemContext(subject.timeout_ms),
  ): Promise<Output> {
    const { data } = await this.askReply(subject, input, context);
    return JSON.parse(decoder.decode(data)) as Output;
  }

  /**
   * The same, and the answer is not parsed.
   * @param known digest of the list answer that the asker has; the same one then comes without data
   */
  async askReply<Input, Output>(
    subject: Subject<Input, Output>,
    input: Input,
    context: CallContext,
    known?: string,
  ): Promise<Reply> {
    const patience = () =>
      Math.max(1, Math.min(subject.timeout_ms, context.deadline_ms - Date.now()));
    await this.ready(Math.min(reconnect_wait_ms, patience()));
    const timeout = patience();
    let reply: Msg;
    const headers = writeContext(context);
    if (known !== undefined) headers.set(digestHeader, known);
    try {
      const send = () =>
        this.connection.request(
          subject.name,
          encoder.encode(JSON.stringify(input ?? null)),
          { timeout, headers },
        );
      // What was on its way when the connection broke may be lost: an ordinary call is better asked again
      // than waited for. Long work goes on in the answerer, whose reply comes after the reconnect.
      reply = await (subject.timeout_ms <= ordinary_ms ? this.whileConnected(send) : send());
    } catch (cause) {
      if (cause instanceof AwsError) throw cause;
      if (
        cause instanceof natsErrors.NoRespondersError || cause instanceof natsErrors.TimeoutError ||
        cause instanceof natsErrors.RequestError ||
        cause instanceof natsErrors.ClosedConnectionError ||
        cause instanceof natsErrors.DrainingConnectionError
      ) throw unavailable(subject.name, cause);
      throw cause;
    }
    const code = reply.headers?.get("mulga-error") ?? "";
    if (code !== "") {
      const body = JSON.parse(decoder.decode(reply.data));
      throw new AwsError(code, body.message, {
        status: Number(reply.headers?.get("mulga-status")),
        reason: body.reason,
      });
    }
    const header = reply.headers?.get(itemsHeader) ?? "";
    const digest = reply.headers?.get(digestHeader) ?? "";
    return {
      data: reply.data,
      index: readListIndex(header, reply.data.length),
      ...(digest === "" ? {} : { digest }),
    };
  }

  /** Publishes an event; nobody need listen. */
  say<Event>(name: string, event: Event): void {
    this.connection.publish(name, encoder.encode(JSON.stringify(event)));
  }

  /** Hears every event on `name` until closed. A handler that throws is logged, not retried. */
  listen<Event>(
    name: string,
    handler: (event: Event, subject: string) => Promise<void> | void,
  ): { close(): Promise<void> } {
    const subscription = this.connection.subscribe(name, {
      callback: (error, message) => {
        if (error !== null) return;
        const work = Promise.resolve()
          .then(() => handler(JSON.parse(decoder.decode(message.data)), message.subject))
          .catch((cause) =>
            this.#log.error("event_failed", { subject: name, ...errorFields(cause) })
          )
          .finally(() => this.#inflight.delete(work));
        this.#inflight.add(work);
      },
    });
    return { close: () => subscription.drain() };
  }

  /** Stops taking work, lets what runs finish, and closes. */
  async drain(): Promise<void> {
    if (this.connection.isClosed()) return;
    await Promise.allSettled([...this.#inflight]);
    await this.connection.drain();
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.drain();
  }
}
