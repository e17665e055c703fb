/**
 * The thread of one mounted volume. It is told once what to serve, then blocks in the volume's loop
 * until that ends; from then on the thread is gone. Whatever it throws is reported to the main thread,
 * which decides whether to start another.
 */
import { errorFields } from "../../log/log.ts";
import { DamagedData } from "../format.ts";
import type { FromWorker, WorkerInit } from "../mailbox.ts";
import { Volume } from "./volume.ts";

interface WorkerScope {
  postMessage(message: FromWorker): void;
  close(): void;
  onmessage: ((event: MessageEvent<WorkerInit>) => void) | null;
}

const scope = globalThis as unknown as WorkerScope;

scope.onmessage = (event) => {
  try {
    new Volume(event.data, (message) => scope.postMessage(message)).run();
  } catch (error) {
    const { error: text, stack } = errorFields(error);
    scope.postMessage({
      kind: "failed",
      error: `${text}\n${stack ?? ""}`,
      damaged: error instanceof DamagedData,
    });
  }
  scope.close();
};
