/**
 * How much of this node's disk each volume's chunks may be kept in: what there is room for now, in equal shares. Volumes
 * that are not mounted any more have one share, all together, and theirs goes before anything else does.
 */
import { errorFields, type Log } from "../../log/log.ts";
import type { LeftCaches } from "./left_caches.ts";
import type { MountedVolume } from "./mounted_volume.ts";

export interface CacheSharesOptions {
  readonly mounted: ReadonlyMap<string, Pick<MountedVolume, "keptBytes" | "allowCache">>;
  readonly left: Pick<LeftCaches, "bytes" | "any" | "shrink">;
  /** Files of each of so many shares, when those there are take so many bytes; none unless given. */
  readonly files: ((keptBytes: number, shares: number) => number) | undefined;
  readonly log: Log;
}

export class CacheShares {
  readonly #o: CacheSharesOptions;

  constructor(options: CacheSharesOptions) {
    this.#o = options;
  }

  #files(shares: number): number {
    return this.#o.files?.(this.keptBytes, shares) ?? 0;
  }

  /** Bytes of the disk that chunks are kept in; whoever needs them gets them back. */
  get keptBytes(): number {
    let kept = this.#o.left.bytes;
    for (const volume of this.#o.mounted.values()) kept += volume.keptBytes;
    return kept;
  }

  get #shares(): number {
    return this.#o.mounted.size + (this.#o.left.any ? 1 : 0);
  }

  /** Files that a volume which is about to be mounted may have. */
  get ofAnother(): number {
    return this.#files(this.#shares + 1);
  }

  /** @param exactly somebody needs the room */
  share(exactly = false): void {
    const files = this.#files(Math.max(1, this.#shares));
    for (const volume of this.#o.mounted.values()) volume.allowCache(files, exactly);
    this.#o.left.shrink(exactly ? 0 : files).catch((error) =>
      this.#o.log.warn("kept_chunks_not_removed", errorFields(error))
    );
  }
}
