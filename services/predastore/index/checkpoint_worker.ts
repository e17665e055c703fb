/**
 * The thread of `checkpoints.ts`: a connection of its own that copies the log into the file.
 *
 * It does one checkpoint for each message and answers with what came of it.
 */
import { DatabaseSync } from "node:sqlite";

/**
 * What is to be done: `close` ends the connection, so that whoever closes the file after it is the last one;
 * `passive` goes beside writers, `restart` keeps them out and has the log begin anew.
 */
export interface CheckpointOrder {
  readonly path: string;
  readonly mode: "passive" | "restart" | "close";
}

export type CheckpointReply =
  | {
    /** Somebody was in the way, and something is left in the log. */
    readonly busy: boolean;
  }
  | { readonly error: string };

/** Writers are kept out so long at most, should somebody else read the file. */
const lockWait_ms = 500;

const scope = self as unknown as {
  onmessage: (event: MessageEvent<CheckpointOrder>) => void;
  postMessage(reply: CheckpointReply): void;
};

let database: DatabaseSync | undefined;

scope.onmessage = ({ data: { path, mode } }) => {
  try {
    if (mode === "close") {
      database?.close();
      scope.postMessage({ busy: false });
      return;
    }
    database ??= new DatabaseSync(path, { timeout: lockWait_ms });
    const row = database.prepare(`pragma wal_checkpoint(${mode})`).get();
    scope.postMessage({ busy: row?.["busy"] !== 0 });
  } catch (error) {
    scope.postMessage({ error: error instanceof Error ? error.message : String(error) });
  }
};
