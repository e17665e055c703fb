/**
 * One mounted volume alone in a process, without bus and object store service, so that a test can give
 * it a small log, kill it at any moment and start it again, and a bench can measure it and nothing else.
 * Objects are files in a directory. The argument is JSON, see `BareOptions`; SIGTERM stops it, SIGHUP
 * unmounts it and prints the saved map, SIGUSR2 takes a snapshot. SIGUSR1 makes it twice as large.
 */
import { dirname, join } from "node:path";
import { createLog } from "../../services/log/log.ts";
import type { DamageReport } from "../../services/viperblock/damage.ts";
import { SealedObjects } from "../../services/viperblock/encryption/sealed_objects.ts";
import { VolumeKey } from "../../services/viperblock/encryption/volume_key.ts";
import type { BlockStore } from "../../services/viperblock/maps/map_objects.ts";
import { openVolume } from "../../services/viperblock/mounts/open_volume.ts";

export interface BareOptions {
  readonly directory: string;
  readonly socket: string;
  readonly vhostSocket?: string;
  readonly sizeBytes: number;
  readonly epoch: number;
  readonly savedEpoch?: number;
  readonly cacheBytes?: number;
  readonly segmentBudget?: number;
  /** Files that its chunks are kept in. */
  readonly cacheFiles?: number;
  readonly reserveBytes?: number;
  readonly spacePatienceMs?: number;
  /** File for a profile of the worker, written when it is stopped. */
  readonly profile?: string;
  /** The data key, in hex, of an encrypted one. */
  readonly key?: string;
}

/** Objects as files; a put is there whole or not at all. While `<directory>.down` exists, all fails. */
export function directoryStore(directory: string): BlockStore {
  const path = (key: string) => join(directory, ...key.split("/"));
  return {
    async put(key, body) {
      const down = await Deno.stat(`${directory}.down`).then(() => true, () => false);
      if (down) throw new Error("the store is down");
      await Deno.mkdir(dirname(path(key)), { recursive: true });
      await Deno.writeFile(`${path(key)}.new`, body);
      await Deno.rename(`${path(key)}.new`, path(key));
    },
    async get(key, range) {
      try {
        const bytes = await Deno.readFile(path(key));
        return range === undefined ? bytes : bytes.slice(range.offset, range.offset + range.length);
      } catch (error) {
        if (error instanceof Deno.errors.NotFound) return undefined;
        throw error;
      }
    },
    async delete(key) {
      await Deno.remove(path(key)).catch((error) => {
        if (!(error instanceof Deno.errors.NotFound)) throw error;
      });
    },
    async *list(prefix) {
      const found: string[] = [];
      const walk = async (at: string) => {
        for await (const entry of Deno.readDir(join(directory, at))) {
          const key = at === "" ? entry.name : `${at}/${entry.name}`;
          if (entry.isDirectory) await walk(key);
          else if (key.startsWith(prefix)) found.push(key);
        }
      };
      await walk("");
      yield* found.sort();
    },
  };
}

export interface BareEngine {
  readonly process: Deno.ChildProcess;
  /** `volume_bytes`: memory that the volume took from the system until it served, after `open_ms`. */
  readonly ready: {
    replayed_batches: number;
    volume_bytes: number;
    open_ms: number;
    /** It can only be read. */
    damage?: DamageReport;
  };
  kill(): Promise<void>;
  stop(): Promise<void>;
  /** Takes a snapshot; `stored` waits until the store has it, and answers the engine's counters. */
  freeze(): Promise<{ stored(): Promise<Record<string, number>> }>;
  /** Takes one and waits until it is stored. */
  snapshot(): Promise<Record<string, number>>;
  /** Unmounts it; answers the saved map. */
  unmount(): Promise<Record<string, unknown>>;
}

/** Starts one as a process; waits until it serves. */
export async function startBare(options: BareOptions): Promise<BareEngine> {
  await Deno.mkdir(`${options.directory}/log`, { recursive: true });
  await Deno.mkdir(`${options.directory}/objects`, { recursive: true });
  const process = new Deno.Command(Deno.execPath(), {
    args: ["run", "-A", new URL(import.meta.url).pathname, JSON.stringify(options)],
    stdin: "null",
    stdout: "piped",
    stderr: "inherit",
  }).spawn();
  const lines = process.stdout.pipeThrough(new TextDecoderStream()).getReader();
  let text = "";
  let snapshots = 0;
  const until = async (pattern: RegExp) => {
    for (;;) {
      const match = pattern.exec(text);
      if (match !== null) return JSON.parse(match[1] ?? "");
      const { value, done } = await lines.read();
      if (done) throw new Error(`the engine ended: ${text}`);
      text += value;
    }
  };
  const end = async (signal: Deno.Signal) => {
    process.kill(signal);
    await process.status;
    await lines.cancel();
  };
  const freeze = async () => {
    process.kill("SIGUSR2");
    const number = ++snapshots;
    await until(new RegExp(`^FROZEN (${number})$`, "m"));
    return { stored: () => until(new RegExp(`^SNAPSHOT ${number} (.*)$`, "m")) };
  };
  return {
    process,
    ready: await until(/^READY (.*)$/m),
    kill: () => end("SIGKILL"),
    stop: () => end("SIGTERM"),
    freeze,
    snapshot: async () => await (await freeze()).stored(),
    async unmount() {
      process.kill("SIGHUP");
      const map = await until(/^UNMOUNTED (.*)$/m);
      await process.status;
      await lines.cancel();
      return map;
    },
  };
}

if (import.meta.main) {
  const options: BareOptions = JSON.parse(Deno.args[0] ?? "{}");
  const { profile } = options;
  if (profile !== undefined) {
    const profiled = new URL("../bench/profiled_worker.ts", import.meta.url);
    profiled.searchParams.set("profile", profile);
    globalThis.Worker = class extends Worker {
      constructor(_address: string | URL, options?: WorkerOptions) {
        super(profiled, options);
      }
    };
  }
  const before = Deno.memoryUsage().rss;
  const begun = performance.now();
  const key = options.key === undefined
    ? undefined
    : new VolumeKey(Uint8Array.fromHex(options.key));
  const store = directoryStore(`${options.directory}/objects`);
  const volume = await openVolume({
    volumeId: "vol-bare",
    ...(key === undefined ? {} : { key }),
    sizeBytes: options.sizeBytes,
    epoch: options.epoch,
    savedEpoch: options.savedEpoch ?? 0,
    directory: `${options.directory}/log`,
    socket: options.socket,
    ...(options.vhostSocket === undefined ? {} : { vhostSocket: options.vhostSocket }),
    store: key === undefined ? store : new SealedObjects(store, { of: () => key }),
    log: createLog("bare", {
      write: (line) => {
        if (Deno.env.has("MULGA_TEST_LOG")) console.error(line);
      },
    }),
    cacheBytes: options.cacheBytes ?? 32 << 20,
    segmentBudget: options.segmentBudget ?? 32,
    cacheFiles: options.cacheFiles ?? 0,
    reserveBytes: options.reserveBytes ?? 0,
    spacePatienceMs: options.spacePatienceMs ?? 30_000,
    readAgainMs: [10],
  }, () => Promise.resolve({ kind: "empty" }));
  Deno.addSignalListener("SIGTERM", () => void volume.stop());
  Deno.addSignalListener("SIGHUP", () => void volume.unmount());
  Deno.addSignalListener(
    "SIGUSR1",
    () => void volume.resize({ size_bytes: options.sizeBytes * 2 }),
  );
  let snapshots = 0;
  Deno.addSignalListener("SIGUSR2", async () => {
    const { stored } = await volume.freeze();
    const number = ++snapshots;
    console.log(`FROZEN ${number}`);
    await stored;
    console.log(`SNAPSHOT ${number} ${JSON.stringify(await volume.statistics())}`);
  });
  const { replayed_batches, damage } = await volume.ready;
  const ready = {
    replayed_batches,
    ...(damage === undefined ? {} : { damage }),
    open_ms: performance.now() - begun,
    volume_bytes: Deno.memoryUsage().rss - before,
  };
  console.log(`READY ${JSON.stringify(ready)}`);
  const ending = await volume.ended;
  if (ending.kind === "unmounted") console.log(`UNMOUNTED ${JSON.stringify(ending.map)}`);
  if (ending.kind === "failed") console.error(ending.error);
  Deno.exit(ending.kind === "failed" ? 1 : 0);
}
