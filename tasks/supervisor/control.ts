/**
 * How commands talk to a running supervisor: a Unix socket in the data directory, one JSON request,
 * then one JSON line for each thing to tell. Who may open the socket may stop the node: it is the
 * owner's alone.
 */
import { join } from "node:path";
import type { Paths } from "../../services/config/node_config.ts";
import { linesOf } from "./log_file.ts";
import type { ServiceStatus } from "./running_service.ts";

export interface NodeStatus {
  readonly pid: number;
  readonly started: string;
  readonly stopping: boolean;
  readonly services: readonly ServiceStatus[];
}

export type ControlRequest =
  | { readonly ask: "status" }
  /** `guests_ms`: how long guests may take before they are switched off. */
  | { readonly ask: "stop"; readonly guests_ms?: number }
  | { readonly ask: "restart"; readonly service: string };

export type ControlReply =
  | { readonly status: NodeStatus }
  /** One thing that is being waited for or has been done. */
  | { readonly say: string }
  | { readonly done: true }
  | { readonly error: string };

export const controlSocket = (paths: Paths) => join(paths.run, "supervisor.sock");
export const lockFile = (paths: Paths) => join(paths.run, "supervisor.lock");
export const recordFile = (paths: Paths) => join(paths.run, "services.json");

const encoder = new TextEncoder();

export type Answer = (
  request: ControlRequest,
  reply: (reply: ControlReply) => Promise<void>,
) => Promise<void>;

/** Answers commands until closed. The caller holds the node's lock, so an old socket is a dead one's. */
export function serveControl(path: string, answer: Answer): Disposable {
  try {
    Deno.removeSync(path);
  } catch (error) {
    if (!(error instanceof Deno.errors.NotFound)) throw error;
  }
  const listener = Deno.listen({ transport: "unix", path });
  Deno.chmodSync(path, 0o600);
  void (async () => {
    for await (const connection of listener) {
      void serveOne(connection, answer).catch(() => {
        // The asker went away; what it asked for goes on.
      });
    }
  })().catch(() => {
    // Closed.
  });
  return {
    [Symbol.dispose]() {
      listener.close();
      try {
        Deno.removeSync(path);
      } catch {
        // Gone with the data directory.
      }
    },
  };
}

async function serveOne(connection: Deno.UnixConn, answer: Answer): Promise<void> {
  try {
    const reply = async (value: ControlReply) => {
      const bytes = encoder.encode(`${JSON.stringify(value)}\n`);
      for (let at = 0; at < bytes.length;) at += await connection.write(bytes.subarray(at));
    };
    for await (const line of linesOf(connection.readable)) {
      let request: ControlRequest;
      try {
        request = JSON.parse(line);
      } catch {
        await reply({ error: "not JSON" });
        return;
      }
      // Whoever stops listening to the progress of a stop does not stop the stop.
      await answer(request, (value) => reply(value).catch(() => {}));
      return;
    }
  } finally {
    try {
      connection.close();
    } catch {
      // Closed with its stream.
    }
  }
}

/** Asks the supervisor of a node; undefined when none runs. */
export async function* askSupervisor(
  paths: Paths,
  request: ControlRequest,
): AsyncGenerator<ControlReply, boolean> {
  let connection: Deno.UnixConn;
  try {
    connection = await Deno.connect({ transport: "unix", path: controlSocket(paths) });
  } catch (error) {
    if (
      error instanceof Deno.errors.NotFound || error instanceof Deno.errors.ConnectionRefused ||
      error instanceof Deno.errors.NotADirectory
    ) return false;
    throw error;
  }
  const writer = connection.writable.getWriter();
  await writer.write(encoder.encode(`${JSON.stringify(request)}\n`));
  writer.releaseLock();
  try {
    for await (const line of linesOf(connection.readable)) yield JSON.parse(line) as ControlReply;
  } catch (error) {
    // A supervisor that ends closes its connections as it goes.
    if (
      !(error instanceof Deno.errors.ConnectionReset || error instanceof Deno.errors.BrokenPipe)
    ) {
      throw error;
    }
  }
  return true;
}

/** The state of the running node; undefined when its supervisor does not run. */
export async function statusOf(paths: Paths): Promise<NodeStatus | undefined> {
  for await (const reply of askSupervisor(paths, { ask: "status" })) {
    if ("status" in reply) return reply.status;
  }
  return undefined;
}
