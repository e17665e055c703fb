/**
 * What every process of ours has around its work: a log, a word and an end for errors that nobody
 * caught (its state can no longer be trusted), and the two signals that ask it to stop.
 */
import { createLog, errorFields, type Level, type Log } from "../log/log.ts";

export interface ProcessFrame {
  readonly log: Log;
  /** Logs the error and ends the process with 1. */
  die(event: string, error: unknown): never;
  /** Resolves with the signal that asks to stop. */
  readonly told: Promise<string>;
}

export function processFrame(name: string): ProcessFrame {
  const log = createLog(name, { minimum: (Deno.env.get("MULGA_LOG") as Level) ?? "info" });
  const die = (event: string, error: unknown): never => {
    log.error(event, errorFields(error));
    Deno.exit(1);
  };
  globalThis.addEventListener("unhandledrejection", (event) => {
    event.preventDefault();
    die("unhandled_rejection", event.reason);
  });
  globalThis.addEventListener("error", (event) => {
    event.preventDefault();
    die("unhandled_error", event.error);
  });
  const told = Promise.withResolvers<string>();
  for (const signal of ["SIGTERM", "SIGINT"] as const) {
    Deno.addSignalListener(signal, () => told.resolve(signal));
  }
  return { log, die, told: told.promise };
}
