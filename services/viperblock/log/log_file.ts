/** A file of the log as whoever looks for batches in it reads it: narrow, so that tests may tear, cut and flip it in memory. */
export interface LogFile {
  readonly path: string;
  /** Reads whole blocks; fewer than asked at the end of the file. The bytes are valid until the next call. */
  read(firstBlock: number, count: number): Uint8Array<ArrayBuffer>;
  /** The first block from there on that may hold anything but zeros; `Infinity` when there is none. */
  written(firstBlock: number): number;
}
