/** Where the engine's thread spends an operation: samples of its profile by the stage whose file they fell in. */

interface Profile {
  readonly nodes: readonly {
    readonly id: number;
    readonly callFrame: { readonly functionName: string; readonly url: string };
  }[];
  readonly samples: readonly number[];
  readonly timeDeltas: readonly number[];
}

/** Socket and disk are one call to the ring. What the thread waits is in it too. */
const kernel = "library calls: socket and disk, waiting, checksums";

/** The first that matches is the stage. */
const stages: readonly (readonly [stage: string, file: RegExp])[] = [
  [kernel, /\/liburing\.ts$/],
  ["parse", /\/(connection|clients|door|doors|nbd_protocol|requests|throttle)\.ts$/],
  ["log batch", /\/(log_writer|log_record|commands|block_map|places|partial_writes)\.ts$/],
  ["checksum's caller", /\/crc32c\.ts$/],
  ["read", /\/(reader|read_cache|slots|fetcher)\.ts$/],
  ["reply", /\/replies\.ts$/],
  ["background", /\/(drainer|checkpoint|maintenance|snapshotter|compactor|recovery|replay)\.ts$/],
];

function stageOf(name: string, url: string): string {
  if (name === "(garbage collector)") return "garbage";
  // Functions of libraries have neither name nor file: nearly all of it is io_uring_enter, then checksums.
  if (name === "(program)" || name === "(idle)" || (name === "" && url === "")) return kernel;
  return stages.find(([, file]) => file.test(url.replace(/\?.*$/, "")))?.[0] ?? "other";
}

/** Microseconds that each stage took of one operation. */
export function explain(text: string, operations: number): Record<string, number> {
  const profile: Profile = JSON.parse(text);
  const stage = new Map(
    profile.nodes.map(({ id, callFrame }) => [
      id,
      stageOf(callFrame.functionName, callFrame.url),
    ]),
  );
  const total = new Map<string, number>();
  for (const [place, sample] of profile.samples.entries()) {
    const name = stage.get(sample) ?? "other";
    total.set(name, (total.get(name) ?? 0) + (profile.timeDeltas[place] ?? 0));
  }
  return Object.fromEntries(
    [...total].sort(([, a], [, b]) => b - a)
      .map(([name, us]) => [name, Math.round(us / operations * 1000) / 1000]),
  );
}
