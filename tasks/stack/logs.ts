/**
 * `logs`: the services' gathered logs in the order of time, all or some, filtered by request, and
 * followed through rotation when asked.
 */
import { join } from "node:path";
import { pathsOf } from "../../services/config/node_config.ts";
import type { Level } from "../../services/log/log.ts";
import { serviceNamed, services } from "../../services/manifest.ts";
import { isInstalled, journal } from "./installed.ts";
import { dataDirOf } from "../init/data_dir.ts";
import { exists } from "../init/write_file.ts";
import { type LogLine, toLogLine } from "../supervisor/log_file.ts";
import { CommandError } from "../terminal/command.ts";
import { bold, red, yellow } from "../terminal/progress.ts";

export interface LogsOptions {
  readonly dataDir?: string;
  readonly names: readonly string[];
  readonly follow: boolean;
  readonly request?: string;
  readonly level?: string;
  /** How many of the newest lines; all when following a request. */
  readonly lines: number;
  readonly json: boolean;
}

const levels: readonly Level[] = ["debug", "info", "warn", "error"];
const supervisorLog = "supervisor";

export async function logs(options: LogsOptions): Promise<number> {
  const paths = pathsOf(dataDirOf(options.dataDir));
  const names = options.names.length > 0
    ? options.names.map((name) => {
      if (name === supervisorLog) return name;
      try {
        return serviceNamed(name).name;
      } catch (cause) {
        throw new CommandError(cause instanceof Error ? cause.message : String(cause), 2, {
          cause,
        });
      }
    })
    : [...services.map((service) => service.name), supervisorLog];
  const least = levels.indexOf((options.level ?? "debug") as Level);
  if (least < 0) throw new CommandError(`--level must be one of ${levels.join(", ")}.`, 2);
  const wanted = (line: LogLine) =>
    (options.request === undefined || line.request_id === options.request) &&
    levels.indexOf(line.level) >= least;
  if (await isInstalled(paths)) {
    const { follow, request, lines } = options;
    const units = names.filter((name) => name !== supervisorLog);
    for await (
      const line of journal(units, { follow, ...(request === undefined ? { lines } : {}) })
    ) if (wanted(line)) print(line, options.json);
    return 0;
  }
  if (!await exists(paths.logs)) {
    throw new CommandError(`There are no logs in ${paths.logs}: no node was started there.`);
  }

  const tails = names.map((name) => new Tail(join(paths.logs, `${name}.log`), name));
  const first = (await Promise.all(tails.map((tail) => tail.all()))).flat().filter(wanted)
    .sort((a, b) => a.ts < b.ts ? -1 : a.ts > b.ts ? 1 : 0);
  const shown = options.request === undefined ? first.slice(-options.lines) : first;
  for (const line of shown) print(line, options.json);
  while (options.follow) {
    const fresh = (await Promise.all(tails.map((tail) => tail.fresh()))).flat().filter(wanted)
      .sort((a, b) => a.ts < b.ts ? -1 : 1);
    for (const line of fresh) print(line, options.json);
    // A file can say that it changed, but not across rotation; four looks a second cost nothing.
    await new Promise((resolve) => setTimeout(resolve, 250));
  }
  return 0;
}

/** One log file, read on from where the last read ended. */
class Tail {
  #at = 0;
  #inode: number | null = null;
  #open = "";

  constructor(readonly path: string, readonly service: string) {}

  async all(): Promise<LogLine[]> {
    const lines: LogLine[] = [];
    for (let number = 9; number > 0; number--) {
      const older = `${this.path}.${number}`;
      if (await exists(older)) lines.push(...this.#parse(await Deno.readTextFile(older)));
    }
    return [...lines, ...await this.fresh()];
  }

  async fresh(): Promise<LogLine[]> {
    try {
      using file = await Deno.open(this.path);
      const { ino, size } = await file.stat();
      if (ino !== this.#inode || size < this.#at) {
        this.#inode = ino;
        this.#at = 0;
        this.#open = "";
      }
      if (size === this.#at) return [];
      await file.seek(this.#at, Deno.SeekMode.Start);
      const bytes = new Uint8Array(size - this.#at);
      let have = 0;
      while (have < bytes.length) {
        const got = await file.read(bytes.subarray(have));
        if (got === null) break;
        have += got;
      }
      this.#at += have;
      const text = this.#open + new TextDecoder().decode(bytes.subarray(0, have));
      const end = text.lastIndexOf("\n") + 1;
      this.#open = text.slice(end);
      return this.#parse(text.slice(0, end));
    } catch (error) {
      if (error instanceof Deno.errors.NotFound) return [];
      throw error;
    }
  }

  #parse(text: string): LogLine[] {
    return text.split("\n").filter((line) => line !== "").map((line) =>
      toLogLine(line, this.service)
    );
  }
}

const common = new Set(["ts", "level", "service", "event", "request_id"]);

/** One line for a reader: time, service, event, then what else it has. */
export function readable(line: LogLine): string {
  const level = line.level === "error"
    ? red("ERROR ")
    : line.level === "warn"
    ? yellow("warn  ")
    : "";
  const fields = Object.entries(line).filter(([name]) => !common.has(name)).map(([name, value]) =>
    name === "text"
      ? String(value)
      : name === "stack"
      ? ""
      : `${name}=${
        typeof value === "string" && !/[\s"]/.test(value) ? value : JSON.stringify(value)
      }`
  ).filter((field) => field !== "");
  const request = line.request_id === undefined ? [] : [`request=${line.request_id}`];
  const time = line.ts.slice(11, 23);
  return `${time} ${line.service.padEnd(10)} ${level}${bold(line.event)} ${
    [...fields, ...request].join(" ")
  }`.trimEnd();
}

function print(line: LogLine, json: boolean): void {
  console.log(json ? JSON.stringify(line) : readable(line));
}
