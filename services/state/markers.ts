/**
 * Markers of deleted rows: each tells who was away that its row is gone, and would stay in its bucket for
 * ever. A bucket whose keys are never used again (sessions, client tokens) would grow with each.
 */
import type { JetStreamClient } from "@nats-io/jetstream";
import type { KV } from "@nats-io/kv";

const hour_ms = 3_600_000;
/** Longer than any service is cut off from the bus and lives: after it a marker tells nobody anything. */
const markerLife_ms = 7 * 24 * hour_ms;

/**
 * Removes the markers that were made before `before_ms`, and returns how many. The bucket's newest message
 * stays whatever it is: by it a table that opens knows how far it must hear. A row that is made again
 * meanwhile stays too, since a marker goes by its own revision.
 */
export async function removeMarkers(
  kv: KV,
  js: JetStreamClient,
  before_ms: number,
): Promise<number> {
  const { bucket, streamInfo, values } = await kv.status();
  if (values === 0) return 0;
  const { config: { name: stream }, state: { last_seq } } = streamInfo;
  const { streams } = await js.jetstreamManager(false);
  let removed = 0;
  for await (const entry of await kv.watch({ headers_only: true })) {
    const { key, operation, revision } = entry;
    if (operation !== "PUT" && revision < last_seq && entry.created.getTime() < before_ms) {
      const marker = { filter: `$KV.${bucket}.${key}`, seq: revision + 1 };
      removed += (await streams.purge(stream, marker)).purged;
    }
    if (revision >= last_seq) break;
  }
  return removed;
}

/**
 * Removes old markers soon and then every so often, until the result is called. Several processes may do so
 * at once; a sweep that fails is left to the next.
 */
export function sweepMarkers(
  kv: KV,
  js: JetStreamClient,
  told: (removed: number, error?: unknown) => void,
): () => void {
  let timer: ReturnType<typeof setTimeout> | undefined;
  const sweepIn = (wait_ms: number) => {
    timer = setTimeout(async () => {
      try {
        told(await removeMarkers(kv, js, Date.now() - markerLife_ms));
      } catch (error) {
        told(0, error);
      }
      if (timer !== undefined) sweepIn(6 * hour_ms);
    }, wait_ms);
    Deno.unrefTimer(timer);
  };
  // Not with all services' starting at once.
  sweepIn((0.1 + Math.random() / 10) * hour_ms);
  return () => {
    clearTimeout(timer);
    timer = undefined;
  };
}
