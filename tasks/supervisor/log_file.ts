/**
 * A service's log on disk: lines of JSON, bounded. The file grows to `limit_bytes`, then becomes
 * `.1`, the older ones move on and the last goes. What is not JSON (a crash of the runtime, another
 * program's words) is wrapped, so that every line can be searched in the same way.
 *
 * A full disk loses log lines and never stops the service; how many were lost is said when there is
 * room again.
 */
import type { Level } from "../../services/log/log.ts";

export interface LogLine {
  readonly ts: string;
  readonly level: Level;
  readonly service: string;
  readonly event: string;
  readonly request_id?: string;
  readonly [field: string]: unknown;
}

const encoder = new TextEncoder();
/** Longer lines are cut: one runaway line must not fill the log. */
const lineLimit = 64 * 1_024;

export class LogFile implements Disposable {
  #file: Deno.FsFile;
  #size: number;
  #lost = 0;

  constructor(
    readonly path: string,
    readonly service: string,
    readonly limit_bytes = 8 * 2 ** 20,
    readonly keep = 3,
  ) {
    this.#file = Deno.openSync(path, { append: true, create: true, mode: 0o600 });
    this.#size = this.#file.statSync().size;
  }

  /** Writes one line as the service printed it. @returns the line as it was written */
  write(text: string): LogLine {
    const line = toLogLine(text, this.service);
    this.#append(`${JSON.stringify(line)}\n`);
    return line;
  }

  #append(text: string): void {
    const bytes = encoder.encode(text);
    try {
      if (this.#size + bytes.length > this.limit_bytes && this.#size > 0) this.#rotate();
      if (this.#lost > 0) {
        const lost = this.#lost;
        this.#lost = 0;
        this.write(JSON.stringify({
          ts: new Date().toISOString(),
          level: "warn",
          service: this.service,
          event: "log_lines_lost",
          count: lost,
        }));
      }
      for (let at = 0; at < bytes.length;) at += this.#file.writeSync(bytes.subarray(at));
      this.#size += bytes.length;
    } catch {
      this.#lost++;
    }
  }

  #rotate(): void {
    for (let number = this.keep; number > 0; number--) {
      const from = number === 1 ? this.path : `${this.path}.${number - 1}`;
      try {
        Deno.renameSync(from, `${this.path}.${number}`);
      } catch (error) {
        if (!(error instanceof Deno.errors.NotFound)) throw error;
      }
    }
    this.#file.close();
    this.#file = Deno.openSync(this.path, { append: true, create: true, mode: 0o600 });
    this.#size = 0;
  }

  [Symbol.dispose](): void {
    this.#file.close();
  }
}

/** nats-server's own form: `[pid] 2026/11/21 10:00:00.000000 [INF] text`. */
const natsLine = /^\[\d+\] [\d/]+ [\d:.]+ \[(\w{3})\] (.*)$/;
const natsLevels: Readonly<Record<string, Level>> = {
  DBG: "debug",
  TRC: "debug",
  INF: "info",
  WRN: "warn",
  ERR: "error",
  FTL: "error",
};

/** A printed line as a log line. */
export function toLogLine(text: string, service: string): LogLine {
  const cut = text.length > lineLimit ? `${text.slice(0, lineLimit)}…` : text;
  if (cut.startsWith("{")) {
    try {
      const value = JSON.parse(cut);
      if (typeof value.ts === "string" && typeof value.event === "string") return value;
    } catch {
      // Not JSON after all, or cut: wrapped below.
    }
  }
  const nats = natsLine.exec(cut);
  // deno-lint-ignore no-control-regex
  const plain = (nats?.[2] ?? cut).replaceAll(/\x1b\[[\d;]*m/g, "");
  return {
    ts: new Date().toISOString(),
    level: natsLevels[nats?.[1] ?? ""] ?? (/^error\b/i.test(plain) ? "error" : "info"),
    service,
    event: "output",
    text: plain,
  };
}

/** Lines of a byte stream, as they come; the last one counts without its line end. */
export async function* linesOf(stream: ReadableStream<Uint8Array>): AsyncGenerator<string> {
  let open = "";
  for await (const text of stream.pipeThrough(new TextDecoderStream())) {
    const lines = (open + text).split("\n");
    open = lines.pop() ?? "";
    // Without a bound a program that never ends its line would take all memory.
    if (open.length > 4 * lineLimit) {
      lines.push(open);
      open = "";
    }
    for (const line of lines) if (line !== "") yield line;
  }
  if (open !== "") yield open;
}
