/**
 * Brings SQLite's write-ahead log into the file of the index, on another thread.
 *
 * SQLite itself does it inside a commit, once for each thousand pages, with two syncs of the disk and a write for each page
 * that changed: the more keys, the more pages, and whoever is served waits for all of it. Here a thread of its own
 * copies while writers go on, then writers wait for the little that came meanwhile, since only an empty log begins
 * anew. Readers never wait. The thread ends when the log has not been full for a while, since it takes 16 MiB.
 *
 * Should the thread fail, the log is copied here, as SQLite would.
 */
import type { CheckpointOrder, CheckpointReply } from "./checkpoint_worker.ts";

/** A log that is as long is copied; the syncs of a checkpoint are shared by all that is in it. */
const longLog_bytes = 32 << 20;
/** What may be left when writers are made to wait. */
const shortLog_bytes = 1 << 20;
const mostPasses = 4;
/** Transactions between two looks at the log's size. */
const lookEach = 8;
const idle_ms = 10_000;

export interface LoggedDatabase {
  /** Keeps transactions that were asked for waiting, until the returned function is called. */
  hold(): () => void;
  /** Copies the log on this thread. */
  checkpoint(): void;
}

export class Checkpoints implements Disposable {
  readonly #path: string;
  readonly #database: LoggedDatabase;
  readonly #long_bytes: number;
  #transactions = 0;
  /** The length from which on the log is copied next. */
  #due_bytes: number;
  #running: Promise<void> | undefined;
  #worker: Worker | undefined;
  #idle: ReturnType<typeof setTimeout> | undefined;
  #closed = false;
  /** Checkpoints that the thread has done since the start. */
  beside = 0;

  constructor(path: string, database: LoggedDatabase, long_bytes = longLog_bytes) {
    this.#path = path;
    this.#database = database;
    this.#due_bytes = this.#long_bytes = long_bytes;
  }

  #logBytes(): number {
    try {
      return Deno.statSync(`${this.#path}-wal`).size;
    } catch {
      return 0;
    }
  }

  /** A transaction was committed. */
  committed(): void {
    if (++this.#transactions < lookEach) return;
    this.#transactions = 0;
    if (this.#running !== undefined || this.#closed) return;
    const bytes = this.#logBytes();
    if (bytes < this.#due_bytes) return;
    this.#begin().then(
      () => this.#due_bytes = this.#long_bytes,
      // A full disk, say: it is tried again when the log has grown by as much.
      () => this.#due_bytes = bytes + this.#long_bytes,
    );
  }

  #begin(): Promise<void> {
    return this.#running ??= this.#run().finally(() => this.#running = undefined);
  }

  async #run(): Promise<void> {
    clearTimeout(this.#idle);
    try {
      for (let pass = 0; pass < mostPasses; pass++) {
        const begun = this.#logBytes();
        await this.#ask("passive");
        // The log does not get shorter by it: what came while it was copied is what is left.
        if (this.#logBytes() - begun < shortLog_bytes) break;
      }
      const release = this.#database.hold();
      try {
        await this.#ask("truncate");
      } finally {
        release();
      }
      this.beside++;
    } catch (error) {
      this.#endWorker();
      if (this.#closed) throw error;
      this.#database.checkpoint();
    }
    const idle = this.#idle = setTimeout(() => this.#endWorker(), idle_ms);
    Deno.unrefTimer(idle);
  }

  async #ask(mode: CheckpointOrder["mode"]): Promise<void> {
    const worker = this.#worker ??= new Worker(new URL("./checkpoint_worker.ts", import.meta.url), {
      type: "module",
      name: "index checkpoints",
    });
    const answer = Promise.withResolvers<CheckpointReply>();
    worker.onmessage = ({ data }) => answer.resolve(data);
    worker.onerror = (event) => {
      event.preventDefault();
      answer.resolve({ error: event.message });
    };
    const order: CheckpointOrder = { path: this.#path, mode };
    worker.postMessage(order);
    const reply = await answer.promise;
    if ("error" in reply) throw new Error(`the index's log is not copied: ${reply.error}`);
    if (mode === "truncate" && reply.busy) throw new Error("the index's log is in use");
  }

  #endWorker(): void {
    clearTimeout(this.#idle);
    this.#worker?.terminate();
    this.#worker = undefined;
  }

  /** Returns when all that was committed survives a power cut. */
  async makeDurable(): Promise<void> {
    // One that runs may have begun before the last commit.
    await this.#running?.catch(() => {});
    if (this.#logBytes() < shortLog_bytes) this.#database.checkpoint();
    else await this.#begin();
  }

  /** Returns when nothing runs, and nothing will. */
  async end(): Promise<void> {
    this.#closed = true;
    await this.#running?.catch(() => {});
    this.#endWorker();
  }

  [Symbol.dispose](): void {
    this.#closed = true;
    this.#endWorker();
  }
}
