/**
 * The room on the disk that holds this node's volumes. A disk that does not say it has none: nothing new is promised on it, and
 * what is served is served on.
 */
import { fileSystemSpace } from "../../ffi/libc.ts";
import type { Log } from "../log/log.ts";
import { errorFields } from "../log/log.ts";

export interface NodeSpaceOptions {
  readonly directory: string;
  /** Bytes that nothing of the volumes may take. */
  readonly reserveBytes: number;
  readonly log: Log;
}

export class NodeSpace {
  readonly #o: NodeSpaceOptions;
  #failure: string | undefined;

  constructor(options: NodeSpaceOptions) {
    this.#o = options;
  }

  /** Why the disk did not say how much room there is, when it was asked last. */
  get failure(): string | undefined {
    return this.#failure;
  }

  /** What is beside the reserve; less than nothing where that has been eaten into. */
  get bytes(): { readonly total_bytes: number; readonly available_bytes: number } {
    const { directory, reserveBytes, log } = this.#o;
    try {
      const { total_bytes, available_bytes } = fileSystemSpace(directory);
      this.#failure = undefined;
      return { total_bytes, available_bytes: available_bytes - reserveBytes };
    } catch (error) {
      const fields = errorFields(error);
      if (this.#failure === undefined) log.error("disk_not_measured", fields);
      this.#failure = String(fields.error);
      return { total_bytes: 0, available_bytes: 0 };
    }
  }
}
