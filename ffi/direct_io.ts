/**
 * Files read and written past the page cache (O_DIRECT), off the calling thread, with fdatasync.
 *
 * Offsets, lengths and memory of every transfer are multiples of `pageBytes`; `alignedBuffer` makes
 * such memory. A buffer must stay untouched until its promise settles; it is kept reachable here. A
 * file system without O_DIRECT (tmpfs of older kernels) gets ordinary writes instead. Files are opened and
 * closed on other threads too: where a disk or a server has gone, these wait as long as anything else. Failures are
 * `IoError`. The errno belongs to the thread that made the call, and to repeat the call on this one would hold everybody
 * up where a disk takes its time to fail: so it is found by asking for the same otherwise, by opening through Deno and
 * by setting the space of a write aside.
 */

export const pageBytes = 4096;

const symbols = {
  open: { parameters: ["buffer", "i32", "u32"], result: "i32", nonblocking: true },
  close: { parameters: ["i32"], result: "i32", nonblocking: true },
  pwrite: {
    parameters: ["i32", "buffer", "usize", "i64"],
    result: "i64",
    nonblocking: true,
  },
  /** Returns the error by itself. */
  posix_fallocate: { parameters: ["i32", "i64", "i64"], result: "i32", nonblocking: true },
  pread: {
    parameters: ["i32", "buffer", "usize", "i64"],
    result: "i64",
    nonblocking: true,
  },
  fdatasync: { parameters: ["i32"], result: "i32", nonblocking: true },
} as const;

let opened: Deno.DynamicLibrary<typeof symbols> | undefined;
const libc = () => (opened ??= Deno.dlopen("libc.so.6", symbols)).symbols;

const flag = Deno.build.arch === "aarch64"
  ? { create: 0o100, direct: 0o200000, cloexec: 0o2000000 }
  : { create: 0o100, direct: 0o40000, cloexec: 0o2000000 };

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

/** Deno's errors of the operating system, under the names that are used here; others as they are. */
export function ioError(error: unknown, call: string, path: string): unknown {
  const { code } = (error ?? {}) as { readonly code?: unknown };
  return typeof code === "string" && !(error instanceof IoError)
    ? new IoError(code, call, path)
    : error;
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
  static async open(
    path: string,
    options: { readonly write: boolean; readonly create?: boolean },
  ): Promise<DirectFile> {
    const { write, create = false } = options;
    const flags = flag.cloexec | (write ? 2 : 0) | (create ? flag.create : 0);
    const name = cString(path);
    // Once more where it failed and can be opened: that may have been for want of something that is there by now.
    for (let attempt = 0; attempt < 2; attempt++) {
      const descriptor = await libc().open(name, flags | flag.direct, 0o640);
      if (descriptor >= 0) return new DirectFile(path, descriptor, true);
      try {
        using _probe = await Deno.open(path, { read: true, write, create, mode: 0o640 });
      } catch (error) {
        throw ioError(error, "open", path);
      }
    }
    const buffered = await libc().open(name, flags, 0o640);
    if (buffered < 0) throw new IoError("EIO", "open", path);
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
        if (written <= 0) {
          const errno = await libc().posix_fallocate(descriptor, at, size);
          if (errno !== 0) {
            throw new IoError(errnoNames[errno] ?? `errno ${errno}`, "pwrite", this.path);
          }
          written = Number(await libc().pwrite(descriptor, rest, size, at));
        }
        if (written < 0) throw new IoError("EIO", "pwrite", this.path);
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
        const count = Number(await libc().pread(descriptor, rest, size, at));
        if (count < 0) throw new IoError("EIO", "pread", this.path);
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
    if (this.#descriptor >= 0) void libc().close(this.#descriptor);
    this.#descriptor = -1;
  }

  [Symbol.dispose](): void {
    this.#closing = true;
    if (this.#users === 0) this.#close();
  }
}

/** Makes the names in a directory durable. @throws IoError */
export async function syncDirectory(path: string): Promise<void> {
  try {
    using folder = await Deno.open(path, { read: true });
    await folder.sync();
  } catch (error) {
    throw ioError(error, "fsync", path);
  }
}
