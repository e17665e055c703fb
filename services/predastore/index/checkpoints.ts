/**
 * Brings SQLite's write-ahead log into the file of the index, on another thread.
 *
 * SQLite itself does it inside a commit, once for each thousand pages, with two syncs of the disk and a write for each page
 * that changed: the more keys, the more pages, and whoever is served waits for all of it. Here a thread of its own
 * copies while writers go on, then writers wait for the little that came meanwhile, since only a log that is copied
 * whole begins anew. Its file keeps its length: writing into it then is no change of the file system, which
 * would wait for the thread's syncs. Readers never wait. The thread ends when the log has not been full for a while, since it takes 16 MiB.
 *
 * Should the thread fail, the log is copied here, as SQLite would.
 */
import type { CheckpointOrder, CheckpointReply } from "./checkpoint_worker.ts";

/** With so many pages to copy a checkpoint begins, 32 MiB: its syncs are shared by all of them. */
const many = 8192;
/** What may be left when writers are made to wait. */
const few = 256;
const mostPasses = 4;
/** Transactions between two looks at the log's size. */
const lookEach = 8;
const idle_ms = 10_000;

export interface LoggedDatabase {
  /** Keeps transactions that were asked for waiting, until the returned function is called. */
  hold(): () => void;
  /** Copies the log on this thread. */
  checkpoint(): void;
  /** How many pages of the log are not in the file yet. */
  waiting(): number;
}

export class Checkpoints implements Disposable {
  readonly #path: string;
  readonly #database: LoggedDatabase;
  #transactions = 0;
  /** With so many pages the next one begins. */
  #due = many;
  /** Gives whether all was copied. */
  #running: Promise<boolean> | undefined;
  #worker: Worker | undefined;
  #idle: ReturnType<typeof setTimeout> | undefined;
  #closed = false;
  /** Checkpoints that the thread has done since the start. */
  beside = 0;

  constructor(path: string, database: LoggedDatabase) {
    this.#path = path;
    this.#database = database;
  }

  /** A transaction was committed. */
  committed(): void {
    if (++this.#transactions < lookEach) return;
    this.#transactions = 0;
    if (this.#running !== undefined || this.#closed) return;
    const waiting = this.#database.waiting();
    if (waiting < this.#due) return;
    this.#begin().then(
      (whole) => this.#due = whole ? many : this.#database.waiting() + many,
      // A full disk, say: it is tried again when as much has come again.
      () => this.#due = waiting + many,
    );
  }

  #begin(): Promise<boolean> {
    return this.#running ??= this.#run().finally(() => this.#running = undefined);
  }

  async #run(): Promise<boolean> {
    let whole = true;
    clearTimeout(this.#idle);
    try {
      for (let pass = 0; pass < mostPasses; pass++) {
        await this.#ask("passive");
        if (this.#database.waiting() < few) break;
      }
      const release = this.#database.hold();
      try {
        // Somebody else who reads the file keeps the log from beginning anew; it grows then, until the next time.
        whole = await this.#ask("restart");
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
    return whole;
  }

  /** @returns whether nobody was in the way */
  async #ask(mode: CheckpointOrder["mode"]): Promise<boolean> {
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
    return !reply.busy;
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
    if (this.#database.waiting() < few) this.#database.checkpoint();
    else if (!await this.#begin()) throw new Error("the index's log is in use");
  }

  /** Returns when nothing runs, and nothing will. */
  async end(): Promise<void> {
    this.#closed = true;
    await this.#running?.catch(() => {});
    if (this.#worker !== undefined) await this.#ask("close").catch(() => {});
    this.#endWorker();
  }

  [Symbol.dispose](): void {
    this.#closed = true;
    this.#endWorker();
  }
}
