/**
 * Files read and written past the page cache (O_DIRECT), off the calling thread, with fdatasync.
 *
 * Offsets, lengths and memory of every transfer are multiples of `pageBytes`; `alignedBuffer` makes
 * such memory. A buffer must stay untouched until its promise settles; it is kept reachable here. A
 * file system without O_DIRECT (tmpfs of older kernels) gets ordinary writes instead. Failures are
 * `IoError` with the errno, found by repeating the failed call on this thread, since errno belongs to
 * the thread that made the call.
 */

export const pageBytes = 4096;

const symbols = {
  open: { parameters: ["buffer", "i32", "u32"], result: "i32" },
  close: { parameters: ["i32"], result: "i32" },
  pwrite: {
    parameters: ["i32", "buffer", "usize", "i64"],
    result: "i64",
    nonblocking: true,
  },
  pwriteNow: {
    name: "pwrite",
    parameters: ["i32", "buffer", "usize", "i64"],
    result: "i64",
  },
  pread: {
    parameters: ["i32", "buffer", "usize", "i64"],
    result: "i64",
    nonblocking: true,
  },
  preadNow: {
    name: "pread",
    parameters: ["i32", "buffer", "usize", "i64"],
    result: "i64",
  },
  fdatasync: { parameters: ["i32"], result: "i32", nonblocking: true },
  fsyncNow: { name: "fsync", parameters: ["i32"], result: "i32" },
  errno: { name: "__errno_location", parameters: [], result: "pointer" },
} as const;

let opened: Deno.DynamicLibrary<typeof symbols> | undefined;
const libc = () => (opened ??= Deno.dlopen("libc.so.6", symbols)).symbols;

const flag = Deno.build.arch === "aarch64"
  ? { create: 0o100, direct: 0o200000, cloexec: 0o2000000, directory: 0o40000 }
  : { create: 0o100, direct: 0o40000, cloexec: 0o2000000, directory: 0o200000 };

const errnoNames: Readonly<Record<number, string>> = {
  2: "ENOENT",
  5: "EIO",
  9: "EBADF",
  13: "EACCES",
  17: "EEXIST",
  20: "ENOTDIR",
  22: "EINVAL",
  24: "EMFILE",
  27: "EFBIG",
  28: "ENOSPC",
  30: "EROFS",
  122: "EDQUOT",
};

/** A system call failed. */
export class IoError extends Error {
  override readonly name = "IoError";
  constructor(readonly code: string, call: string, path: string) {
    super(`${call} ${path}: ${code}`);
  }
}

function lastError(call: string, path: string): IoError {
  const pointer = libc().errno();
  const number = pointer === null ? 0 : new Deno.UnsafePointerView(pointer).getInt32();
  return new IoError(errnoNames[number] ?? `errno ${number}`, call, path);
}

const cString = (text: string) => new TextEncoder().encode(text + "\0");

/** Zeroed memory whose start is a multiple of `pageBytes`. */
export function alignedBuffer(length: number): Uint8Array<ArrayBuffer> {
  const buffer = new Uint8Array(length + pageBytes);
  const address = Deno.UnsafePointer.value(Deno.UnsafePointer.of(buffer)) as bigint;
  const skip = (pageBytes - Number(address % BigInt(pageBytes))) % pageBytes;
  return buffer.subarray(skip, skip + length);
}

export class DirectFile implements Disposable {
  #descriptor: number;
  /** Calls on other threads that use the descriptor now: it is closed after the last. */
  #users = 0;
  #closing = false;

  private constructor(readonly path: string, descriptor: number, readonly direct: boolean) {
    this.#descriptor = descriptor;
  }

  /** @throws IoError */
  static open(path: string, options: { write: boolean; create?: boolean }): DirectFile {
    const base = flag.cloexec | (options.write ? 2 : 0) |
      (options.create === true ? flag.create : 0);
    const name = cString(path);
    const descriptor = libc().open(name, base | flag.direct, 0o640);
    if (descriptor >= 0) return new DirectFile(path, descriptor, true);
    const error = lastError("open", path);
    if (error.code !== "EINVAL") throw error;
    const buffered = libc().open(name, base, 0o640);
    if (buffered < 0) throw lastError("open", path);
    return new DirectFile(path, buffered, false);
  }

  async #use<T>(work: (descriptor: number) => Promise<T>): Promise<T> {
    if (this.#closing) throw new IoError("EBADF", "use", this.path);
    this.#users++;
    try {
      return await work(this.#descriptor);
    } finally {
      this.#users--;
      if (this.#closing && this.#users === 0) this.#close();
    }
  }

  /** Writes all of `bytes`. @throws IoError */
  write(bytes: Uint8Array<ArrayBuffer>, offset: number): Promise<void> {
    return this.#use(async (descriptor) => {
      for (let done = 0; done < bytes.length;) {
        const rest = bytes.subarray(done);
        const size = BigInt(rest.length);
        const at = BigInt(offset + done);
        let written = Number(await libc().pwrite(descriptor, rest, size, at));
        if (written <= 0) written = Number(libc().pwriteNow(descriptor, rest, size, at));
        if (written < 0) throw lastError("pwrite", this.path);
        if (written === 0) throw new IoError("EIO", "pwrite", this.path);
        // A short direct write leaves an unaligned rest; going back to the page repeats a little.
        done += this.direct && done + written < bytes.length
          ? written - written % pageBytes
          : written;
        if (written < pageBytes && done < bytes.length && this.direct) {
          throw new IoError("ENOSPC", "pwrite", this.path);
        }
      }
    });
  }

  /** Reads into `bytes` from `offset`; the number read is less only at the end. @throws IoError */
  read(bytes: Uint8Array<ArrayBuffer>, offset: number): Promise<number> {
    return this.#use(async (descriptor) => {
      let done = 0;
      while (done < bytes.length) {
        const rest = bytes.subarray(done);
        const size = BigInt(rest.length);
        const at = BigInt(offset + done);
        let count = Number(await libc().pread(descriptor, rest, size, at));
        if (count < 0) count = Number(libc().preadNow(descriptor, rest, size, at));
        if (count < 0) throw lastError("pread", this.path);
        done += count;
        // An unaligned end can only be the end of the file.
        if (count === 0 || (this.direct && count % pageBytes !== 0)) break;
      }
      return done;
    });
  }

  /** Returns when everything written before is durable. @throws IoError */
  sync(): Promise<void> {
    return this.#use(async (descriptor) => {
      // A failed fdatasync is never repeated: the kernel may have dropped the pages and then lie.
      if (await libc().fdatasync(descriptor) !== 0) {
        throw new IoError("EIO", "fdatasync", this.path);
      }
    });
  }

  #close(): void {
    if (this.#descriptor >= 0) libc().close(this.#descriptor);
    this.#descriptor = -1;
  }

  [Symbol.dispose](): void {
    this.#closing = true;
    if (this.#users === 0) this.#close();
  }
}

/** Makes the names in a directory durable. @throws IoError */
export function syncDirectory(path: string): void {
  const descriptor = libc().open(cString(path), flag.cloexec | flag.directory, 0);
  if (descriptor < 0) throw lastError("open", path);
  try {
    if (libc().fsyncNow(descriptor) !== 0) throw lastError("fsync", path);
  } finally {
    libc().close(descriptor);
  }
}
