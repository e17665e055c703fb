/**
 * All that the store asks of a disk: files that are written at places and synced, folders whose names
 * are synced by themselves, and how much room there is. The real one and the simulated one stand beside
 * this file; nothing else of the store touches a file of a blob directory.
 *
 * What a disk promises: a write is durable when a later `sync` of its file has returned, and a file's
 * name when a later `syncFolder` has. Before that a crash may leave any part of it, in any order. A file
 * that is not there is `IoError` with the code ENOENT.
 */
type Bytes = Uint8Array<ArrayBuffer>;

export interface DiskFile extends Disposable {
  /** Writes all of `bytes`, which start and end on pages. @throws IoError */
  write(bytes: Bytes, offset: number): Promise<void>;
  /** Reads into `bytes`; the number read is less only at the end. @throws IoError */
  read(bytes: Bytes, offset: number): Promise<number>;
  /** Returns when all that was written before is durable. @throws IoError */
  sync(): Promise<void>;
}

export interface Disk {
  /** @throws IoError */
  open(
    path: string,
    options: { readonly write: boolean; readonly create?: boolean },
  ): Promise<DiskFile>;
  /** Makes a folder and those above it that are missing. */
  makeFolder(path: string): Promise<void>;
  /** The names in a folder. @throws IoError */
  names(folder: string): Promise<string[]>;
  /** Makes the names in a folder durable. @throws IoError */
  syncFolder(folder: string): Promise<void>;
  /** A file's size. @throws IoError */
  size(path: string): Promise<number>;
  remove(path: string): Promise<void>;
  /** A small file, whole. @throws IoError */
  readWhole(path: string): Promise<Bytes>;
  /** Puts a small file there or in place of the one there: durable, and never half of it. */
  writeWhole(path: string, bytes: Bytes): Promise<void>;
  /** @throws IoError when the disk is away */
  space(path: string): Promise<{ readonly free: number; readonly total: number }>;
}
