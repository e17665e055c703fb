/**
 * The engine's worker under V8's profiler, in place of the worker itself: serves as it does, and writes the
 * profile into the file that the address names before it says that it has ended.
 */
import { Session } from "node:inspector";
import "../../services/viperblock/engine/worker.ts";
import type { FromWorker } from "../../services/viperblock/mounts/mailbox.ts";

interface WorkerScope {
  postMessage(message: FromWorker): void;
  close(): void;
  onmessage: ((event: MessageEvent) => unknown) | null;
}

const scope = globalThis as unknown as WorkerScope;
const path = new URL(import.meta.url).searchParams.get("profile") ?? "";
const session = new Session();
session.connect();

function ask(method: string, parameters: object = {}): Promise<unknown> {
  return new Promise((resolve, reject) => {
    session.post(method, parameters, (error: Error | null, answer?: object) => {
      if (error === null) resolve(answer);
      else reject(error);
    });
  });
}

const serve = scope.onmessage;
const post = scope.postMessage.bind(globalThis);
const close = scope.close.bind(globalThis);
const last: FromWorker[] = [];
// Whoever hears of the end may end this thread.
scope.postMessage = (message) => {
  if (message.kind === "stopped" || message.kind === "failed") last.push(message);
  else post(message);
};
scope.close = () => {};
scope.onmessage = async (event) => {
  await ask("Profiler.enable");
  await ask("Profiler.setSamplingInterval", { interval: 200 });
  await ask("Profiler.start");
  serve?.call(globalThis as never, event);
  const { profile } = await ask("Profiler.stop") as { profile: unknown };
  Deno.writeTextFileSync(path, JSON.stringify(profile));
  for (const message of last) post(message);
  close();
};
