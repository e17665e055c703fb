/**
 * The front door: one HTTPS listener for every AWS service, the console and the health check.
 *
 * Which way a request goes is decided by its credential scope alone; S3 is streamed to predastore,
 * query calls are dispatched over the bus. Every API call leaves an audit entry, and no error, of
 * whatever kind, ends the process or leaks its insides.
 */
import { Hono } from "hono";
import { setNoDelayOnListeners } from "../../ffi/tcp.ts";
import { AwsError } from "../aws/errors.ts";
import { SigningGrants } from "../aws/signatures/signing_grants.ts";
import { claimedScope } from "../aws/signatures/sigv4.ts";
import type { Bus } from "../bus/bus.ts";
import { errorFields, inRequest, type Log } from "../log/log.ts";
import { closeDoors } from "../runtime/close_doors.ts";
import { Crowd } from "../runtime/crowd.ts";
import { RequestsUnderWay } from "../runtime/requests_under_way.ts";
import { Admission, type AdmissionLimits } from "./admission.ts";
import { ArrivingBodies } from "./arriving_bodies.ts";
import { Audit } from "./audit.ts";
import { ResourceAuthorizer } from "../aws/authorizer.ts";
import { consoleError, consoleReply } from "./console_door.ts";
import { auditTrail } from "./contract.ts";
import { type CallNotes, dispatch, type DispatchParts } from "./dispatch.ts";
import { type Edge, edgeOf } from "./edge.ts";
import { errorFormOf, errorReply, visible } from "./error_reply.ts";
import { QueryAnswers } from "./query_answers.ts";
import { checkS3Method, isAnonymousS3, s3Action, S3Door } from "./s3_door.ts";
import { StrangersAudit } from "./strangers_audit.ts";

export interface GatewayOptions {
  readonly bus: Bus;
  readonly log: Log;
  readonly hostname: string;
  /** 0 takes a free one. */
  readonly port: number;
  /** PEM. */
  readonly cert: string;
  readonly key: string;
  /** The region that EC2 calls must be signed for; any unless given. */
  readonly region?: string;
  /** Path of predastore's front door. */
  readonly s3Front: string;
  /** Gives the FFI permission up once the listener stands; only tests that need it later say no. */
  readonly revokeFfi?: boolean;
  readonly limits?: AdmissionLimits;
}

export interface Gateway {
  readonly port: number;
  readonly audit: Audit;
  /** The same of callers without an account. */
  readonly strangersAudit: Audit;
  /** Listening sockets that answer without delay; what became of the FFI permission that this took. */
  readonly noDelaySockets: number;
  readonly ffi: Deno.PermissionState;
  /** Requests that are being answered now. */
  readonly inFlight: number;
  /** Idle connections that were ended since there were too many. */
  readonly connectionsEnded: number;
  /** Calls since the start. */
  readonly calls: number;
  /** Takes no more connections, lets what runs finish for `timeout_ms`, then ends it. */
  stop(timeout_ms: number): Promise<void>;
}

interface Bindings {
  readonly remote: Deno.Addr;
}

/** Of an access key's form; never what somebody put in its place, which may be a secret. */
const keyForm = /^[A-Z0-9]{4,32}$/;

const wantsPage = (edge: Edge) => (edge.headers.get("accept") ?? "").includes("text/html");

class Door {
  inFlight = 0;
  calls = 0;
  readonly arriving = new ArrivingBodies();
  #closing = false;
  readonly #log: Log;
  readonly #parts: DispatchParts;
  readonly #audit: Audit;
  readonly #strangers: StrangersAudit;
  readonly #s3: S3Door;

  constructor(
    parts: DispatchParts,
    audit: Audit,
    strangers: StrangersAudit,
    s3: S3Door,
    log: Log,
  ) {
    this.#parts = parts;
    this.#audit = audit;
    this.#strangers = strangers;
    this.#s3 = s3;
    this.#log = log;
  }

  /** From now on requests are refused; those under way go on. */
  close(): void {
    this.#closing = true;
  }

  app(): Hono<{ Bindings: Bindings }> {
    const app = new Hono<{ Bindings: Bindings }>();
    app.get("/health", () => this.#health());
    const console = (edge: Edge) => this.#console(edge);
    const api = (edge: Edge) => this.#api(edge);
    app.all("/console/*", (c) => this.#receive(c.req.raw, c.env, console));
    app.all("/*", (c) => this.#receive(c.req.raw, c.env, api));
    app.onError((error) => this.#failed(error));
    return app;
  }

  async #receive(
    request: Request,
    { remote }: Bindings,
    answer: (edge: Edge) => Promise<Response>,
  ): Promise<Response> {
    if (this.#closing) return this.#refused(edgeOf(request, remote));
    const edge = edgeOf(request, remote, this.arriving.begin(request));
    try {
      return await answer(edge);
    } finally {
      // What was not read by then is read no more.
      edge.received();
    }
  }

  async #health(): Promise<Response> {
    try {
      await this.#parts.bus.ready(50);
      return Response.json({ status: "ok" });
    } catch {
      return Response.json({ status: "unavailable", detail: "the bus is not connected" }, {
        status: 503,
      });
    }
  }

  /** Clients try again, and find the next one. */
  #refused(edge: Edge): Response {
    const { service } = this.#meant(edge);
    const form = errorFormOf(service, edge.headers);
    const error = new AwsError("ServiceUnavailable", "The service is stopping. Try again.", {
      status: 503,
    });
    const reply = errorReply(form, service, error, edge.request_id, edge.path);
    reply.headers.set("connection", "close");
    return reply;
  }

  /** The service that a request is for; the empty one where it does not say. */
  #meant(edge: Edge) {
    const scope = claimedScope(edge);
    const s3 = scope === undefined ? isAnonymousS3(edge) : scope.service === "s3";
    return { scope, s3, service: s3 ? "s3" : scope?.service ?? "" };
  }

  #failed(error: unknown): Response {
    const request_id = crypto.randomUUID();
    this.#log.error("request_failed", { request_id, ...errorFields(error) });
    return errorReply("query", "", visible(error), request_id);
  }

  async #console(edge: Edge): Promise<Response> {
    // A bucket may be called `console`; who signs a request means it.
    if (claimedScope(edge) !== undefined) return await this.#api(edge);
    return await inRequest(edge.request_id, async () => {
      try {
        return await consoleReply(edge, this.#parts.bus, this.#parts.admission);
      } catch (cause) {
        const error = visible(cause);
        if (error.status >= 500) this.#log.warn("console_failed", errorFields(cause));
        return consoleError(error, edge.request_id);
      }
    });
  }

  async #api(edge: Edge): Promise<Response> {
    const { scope, s3, service } = this.#meant(edge);
    if (scope === undefined && !s3 && edge.method === "GET" && wantsPage(edge)) {
      return new Response(null, { status: 302, headers: { location: "/console" } });
    }
    const notes: CallNotes = {
      service: service === "" ? "unknown" : service,
      action: s3 ? s3Action(edge) : "unknown",
      account_id: "",
      principal_arn: "",
    };
    this.inFlight++;
    this.calls++;
    let status = 500;
    let error: AwsError | undefined;
    try {
      return await inRequest(edge.request_id, async () => {
        try {
          if (s3) checkS3Method(edge);
          const reply = s3
            ? await this.#s3.forward(edge, notes)
            : await dispatch(edge, service, this.#parts, notes);
          status = reply.status;
          return reply;
        } catch (cause) {
          error = visible(cause);
          status = error.status;
          if (status >= 500) this.#log.error("call_failed", errorFields(cause));
          const form = errorFormOf(service, edge.headers);
          return errorReply(form, service, error, edge.request_id, edge.path);
        }
      });
    } finally {
      this.inFlight--;
      this.#record(edge, notes, status, error);
    }
  }

  #record(edge: Edge, notes: CallNotes, status: number, error: AwsError | undefined): void {
    const duration_ms = Math.round((performance.now() - edge.started_ms) * 100) / 100;
    const entry = {
      ts: new Date().toISOString(),
      request_id: edge.request_id,
      ...notes,
      // Whatever the sender calls it.
      service: notes.service.slice(0, 64),
      source_ip: edge.source_ip,
      user_agent: (edge.headers.get("user-agent") ?? "").slice(0, 256),
      status,
      ...(error === undefined ? {} : { error_code: error.code }),
      duration_ms,
    };
    if (notes.account_id !== "") this.#audit.record(entry);
    else {
      const access_key_id = claimedScope(edge)?.access_key_id ?? "";
      const named = keyForm.test(access_key_id) ? { access_key_id } : {};
      // What is only counted there is no line of its own in the log either.
      if (!this.#strangers.record({ ...entry, ...named })) return;
    }
    this.#log.info("call", {
      request_id: edge.request_id,
      aws_service: entry.service,
      action: notes.action,
      account_id: notes.account_id,
      status,
      ...(error === undefined ? {} : { code: error.code }),
      duration_ms,
    });
  }
}

/** Forgets what may have changed unheard while the bus was away. */
async function forgetOnReconnect(bus: Bus, forget: () => void): Promise<void> {
  for await (const status of bus.connection.status()) {
    if (status.type === "reconnect") forget();
  }
}

/** Starts to listen. @throws when the port is taken or the certificate is not usable */
export async function startGateway(options: GatewayOptions): Promise<Gateway> {
  const { bus, log } = options;
  const grants = new SigningGrants(bus);
  const authorizer = new ResourceAuthorizer(bus);
  const audit = new Audit(bus, log, auditTrail);
  const strangers = new StrangersAudit(bus, log);
  await Promise.all([audit.prepare(), strangers.audit.prepare()]);
  void forgetOnReconnect(bus, () => {
    grants.forget();
    authorizer.forget();
  });
  const s3 = new S3Door(options.s3Front);
  const door = new Door(
    {
      bus,
      grants,
      authorizer,
      admission: new Admission(options.limits),
      answers: new QueryAnswers(),
      region: options.region,
    },
    audit,
    strangers,
    s3,
    log,
  );
  const app = door.app();
  const underWay = new RequestsUnderWay();
  const listening = Promise.withResolvers<number>();
  const server = Deno.serve({
    hostname: options.hostname,
    port: options.port,
    cert: options.cert,
    key: options.key,
    onListen: ({ port }) => listening.resolve(port),
    onError: (error) => {
      log.error("request_failed", errorFields(error));
      return errorReply("query", "", visible(error), crypto.randomUUID());
    },
  }, underWay.following((request, info) => app.fetch(request, { remote: info.remoteAddr })));
  const port = await listening.promise;
  const noDelaySockets = setNoDelayOnListeners();
  if (noDelaySockets === 0) {
    log.warn("no_delay_not_set", { detail: "answers may take 40 ms longer" });
  }
  const crowd = new Crowd({ log, port, underWay });
  // From here on nothing that handles a request can reach past Deno's permissions.
  if (options.revokeFfi !== false) await Deno.permissions.revoke({ name: "ffi" });
  const { state: ffi } = await Deno.permissions.query({ name: "ffi" });

  let stopped: Promise<void> | undefined;
  const stop = async (timeout_ms: number) => {
    door.close();
    const received = () => door.arriving.ended();
    await closeDoors({ servers: [server], received, underWay, crowd, log }, timeout_ms);
    await Promise.all([audit[Symbol.asyncDispose](), strangers[Symbol.asyncDispose]()]);
    await grants[Symbol.asyncDispose]();
    await authorizer[Symbol.asyncDispose]();
    s3[Symbol.dispose]();
  };

  return {
    port,
    audit,
    strangersAudit: strangers.audit,
    noDelaySockets,
    ffi,
    get inFlight() {
      return door.inFlight;
    },
    get connectionsEnded() {
      return crowd.ended;
    },
    get calls() {
      return door.calls;
    },
    stop: (timeout_ms) => stopped ??= stop(timeout_ms),
  };
}
