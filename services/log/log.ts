/**
 * Structured logs: one line of JSON each on standard output, gathered by the supervisor or journald.
 *
 * Every line has `ts` (ISO 8601, UTC), `level`, `service`, `event` (a stable snake_case name to
 * search for) and, inside a bus call, `request_id` of the API request that caused it. Durations end
 * in `_ms`, sizes in `_bytes`. Secrets are never logged: pass ids, not values.
 */
import { AsyncLocalStorage } from "node:async_hooks";

export type Level = "debug" | "info" | "warn" | "error";
export type Fields = Readonly<Record<string, unknown>>;

export interface Log {
  debug(event: string, fields?: Fields): void;
  info(event: string, fields?: Fields): void;
  warn(event: string, fields?: Fields): void;
  error(event: string, fields?: Fields): void;
  /** A log whose lines also carry `fields`. */
  with(fields: Fields): Log;
}

const requestId = new AsyncLocalStorage<string>();

/** Runs `work` so that every log line made inside it carries `id` as `request_id`. */
export function inRequest<T>(id: string, work: () => T): T {
  return requestId.run(id, work);
}

/** The request that the calling code works for, if any. */
function currentRequestId(): string | undefined {
  return requestId.getStore();
}

const rank: Record<Level, number> = { debug: 0, info: 1, warn: 2, error: 3 };

/** An error as log fields, with its chain of causes and the first stack. */
export function errorFields(error: unknown): Fields {
  if (!(error instanceof Error)) return { error: String(error) };
  const causes: string[] = [];
  for (let cause = error.cause; cause !== undefined && causes.length < 5;) {
    causes.push(cause instanceof Error ? `${cause.name}: ${cause.message}` : String(cause));
    cause = cause instanceof Error ? cause.cause : undefined;
  }
  return {
    error: `${error.name}: ${error.message}`,
    stack: error.stack,
    ...(causes.length > 0 ? { causes } : {}),
  };
}

const encoder = new TextEncoder();

function writeLine(line: string): void {
  const bytes = encoder.encode(line + "\n");
  for (let at = 0; at < bytes.length;) at += Deno.stdout.writeSync(bytes.subarray(at));
}

/** Makes the log of one service. `minimum` comes from MULGA_LOG in the services. */
export function createLog(
  service: string,
  options: { minimum?: Level; base?: Fields; write?: (line: string) => void } = {},
): Log {
  const { minimum = "info", base = {}, write = writeLine } = options;
  const emit = (level: Level, event: string, fields: Fields = {}) => {
    if (rank[level] < rank[minimum]) return;
    const request_id = currentRequestId();
    write(JSON.stringify({
      ts: new Date().toISOString(),
      level,
      service,
      event,
      ...(request_id === undefined ? {} : { request_id }),
      ...base,
      ...fields,
    }, (_key, value) => typeof value === "bigint" ? value.toString() : value));
  };
  return {
    debug: (event, fields) => emit("debug", event, fields),
    info: (event, fields) => emit("info", event, fields),
    warn: (event, fields) => emit("warn", event, fields),
    error: (event, fields) => emit("error", event, fields),
    with: (fields) => createLog(service, { minimum, write, base: { ...base, ...fields } }),
  };
}
