import type { MountedVolume } from "./mounted_volume.ts";

const ratio = (of: number, to: number) => to === 0 ? 1 : Math.round(of / to * 1000) / 1000;

/** Counters of a volume's engine, and what follows from them; undefined when the engine has ended. */
export async function metricsOf(
  volume: MountedVolume,
): Promise<Readonly<Record<string, number>> | undefined> {
  const statistics = await volume.statistics();
  if (statistics === undefined) return undefined;
  const { latencies, ...seen } = statistics;
  return {
    ...seen,
    ...latencies,
    read_only: volume.damage === undefined ? 0 : 1,
    damaged_blocks: volume.damage?.damaged_blocks ?? 0,
    chunk_cache_hit_ratio: ratio(
      seen.chunk_cache_hits,
      seen.chunk_cache_hits + seen.chunk_cache_misses,
    ),
    cache_hit_ratio: ratio(seen.cache_hits, seen.cache_hits + seen.cache_misses),
    space_amplification: ratio(seen.chunk_blocks, seen.live_chunk_blocks),
    log_amplification: ratio(seen.log_written_bytes, seen.guest_written_bytes),
  };
}
