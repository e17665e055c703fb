/**
 * The few calls of the C library that the storage services need and Deno has no equivalent for:
 * memory outside the JavaScript heap, O_DIRECT files, eventfds and blocking Unix sockets.
 *
 * Memory that the kernel reads or writes after a call has returned (rings, buffers of queued I/O) must
 * come from `mapMemory`: nothing on the JavaScript heap may be given to a ring. A mapping is never
 * released behind the owner's back; `unmap` is for those who know that no view and no I/O is left.
 *
 * Every wrapper turns a failure into a `SystemError` that carries errno.
 */

const library = Deno.dlopen("libc.so.6", {
  mmap: { parameters: ["usize", "usize", "i32", "i32", "i32", "i64"], result: "pointer" },
  munmap: { parameters: ["pointer", "usize"], result: "i32" },
  madvise: { parameters: ["pointer", "usize", "i32"], result: "i32" },
  open: { parameters: ["buffer", "i32", "i32"], result: "i32" },
  close: { parameters: ["i32"], result: "i32" },
  pread: { parameters: ["i32", "pointer", "usize", "i64"], result: "isize" },
  lseek: { parameters: ["i32", "i64", "i32"], result: "i64" },
  fallocate: { parameters: ["i32", "i32", "i64", "i64"], result: "i32" },
  fdatasync: { parameters: ["i32"], result: "i32" },
  posix_fadvise: { parameters: ["i32", "i64", "i64", "i32"], result: "i32" },
  flock: { parameters: ["i32", "i32"], result: "i32" },
  eventfd: { parameters: ["u32", "i32"], result: "i32" },
  write: { parameters: ["i32", "buffer", "usize"], result: "isize" },
  socket: { parameters: ["i32", "i32", "i32"], result: "i32" },
  bind: { parameters: ["i32", "buffer", "u32"], result: "i32" },
  listen: { parameters: ["i32", "i32"], result: "i32" },
  shutdown: { parameters: ["i32", "i32"], result: "i32" },
  setsockopt: { parameters: ["i32", "i32", "i32", "buffer", "u32"], result: "i32" },
  statfs: { parameters: ["buffer", "buffer"], result: "i32" },
  __errno_location: { parameters: [], result: "pointer" },
});
const c = library.symbols;

/** A call of the C library failed. */
export class SystemError extends Error {
  override readonly name = "SystemError";
  constructor(readonly call: string, readonly errno: number, what = "") {
    super(`${call}${what === "" ? "" : ` ${what}`}: ${errnoName(errno)}`);
  }
}

export const errnos = {
  EPERM: 1,
  ENOENT: 2,
  EINTR: 4,
  EIO: 5,
  ENXIO: 6,
  EAGAIN: 11,
  ENOMEM: 12,
  EBUSY: 16,
  EINVAL: 22,
  EMFILE: 24,
  ENOSPC: 28,
  EROFS: 30,
  ENOSYS: 38,
  ENODATA: 61,
  ETIME: 62,
  EILSEQ: 84,
  ETIMEDOUT: 110,
  EREMOTEIO: 121,
} as const;

export function errnoName(errno: number): string {
  const found = Object.entries(errnos).find(([, value]) => value === errno);
  return found === undefined ? `errno ${errno}` : found[0];
}

function lastErrno(): number {
  const at = c.__errno_location();
  return at === null ? 0 : new Deno.UnsafePointerView(at).getInt32();
}

function checked(result: number, call: string, what?: string): number {
  if (result < 0) throw new SystemError(call, lastErrno(), what);
  return result;
}

const cString = (text: string) => new TextEncoder().encode(`${text}\0`);

/** A range of memory outside the JavaScript heap, with a view on it. */
export interface Memory {
  readonly address: number;
  readonly length: number;
  readonly pointer: Deno.PointerObject;
  readonly buffer: ArrayBuffer;
  readonly bytes: Uint8Array<ArrayBuffer>;
}

const protReadWrite = 3;
const mapPrivateAnonymous = 0x22;
const mapPopulate = 0x8000;
const map32Bit = 0x40;
const mapNoReserve = 0x4000;
const adviceDontNeed = 4;
const adviceHugePage = 14;
const advicePopulateWrite = 23;
export const hugePageBytes = 2 << 20;

/** A view on memory that somebody else mapped; the view does not own it. */
export function viewMemory(pointer: Deno.PointerObject, length: number): Memory {
  const buffer = Deno.UnsafePointerView.getArrayBuffer(pointer, length);
  return {
    address: Number(Deno.UnsafePointer.value(pointer)),
    length,
    pointer,
    buffer,
    bytes: new Uint8Array(buffer),
  };
}

/** As `viewMemory`, from an address that another thread of this process sent. */
export function viewAddress(address: number, length: number): Memory {
  const pointer = Deno.UnsafePointer.create(BigInt(address));
  if (pointer === null) throw new RangeError("the null address has no memory");
  return viewMemory(pointer, length);
}

/**
 * Maps anonymous, zeroed memory.
 * @param options.low try below 4 GiB, where an address is a plain u32 argument of a fast FFI call
 * @param options.populate touch every page now rather than at first use
 * @param options.huge in pages of 2 MiB where the kernel has them, touched now unless `populate` is false: a disk then gets
 * a large write as a few pieces and not one for each page, and what is looked for in no order is found sooner
 */
export function mapMemory(
  length: number,
  options: { low?: boolean; populate?: boolean; huge?: boolean } = {},
): Memory {
  if (options.huge === true) {
    return mapHuge(length, options.low === true, options.populate !== false);
  }
  const flags = mapPrivateAnonymous | (options.populate === true ? mapPopulate : mapNoReserve);
  return viewMemory(mapAnonymous(length, flags, options.low === true), length);
}

function mapAnonymous(length: number, flags: number, low: boolean): Deno.PointerObject {
  // MAP_32BIT exists on x86-64 only, and its space is about 1 GiB for the whole process.
  const wanted = low && Deno.build.arch === "x86_64" ? [map32Bit, 0] : [0];
  for (const extra of wanted) {
    const pointer = c.mmap(0n, BigInt(length), protReadWrite, flags | extra, -1, 0n);
    if (isMapped(pointer)) return pointer;
  }
  throw new SystemError("mmap", lastErrno(), `${length} bytes`);
}

function mapHuge(length: number, low: boolean, populate: boolean): Memory {
  const whole = Math.ceil(length / 4096) * 4096;
  const pointer = mapAnonymous(whole + hugePageBytes, mapPrivateAnonymous | mapNoReserve, low);
  const from = Deno.UnsafePointer.value(pointer);
  const skip = Number(BigInt(hugePageBytes) - from % BigInt(hugePageBytes));
  const at = Deno.UnsafePointer.create(from + BigInt(skip)) as Deno.PointerObject;
  checked(c.munmap(pointer, BigInt(skip)), "munmap");
  if (skip < hugePageBytes) {
    const rest = Deno.UnsafePointer.create(from + BigInt(skip + whole));
    checked(c.munmap(rest, BigInt(hugePageBytes - skip)), "munmap");
  }
  adviseHugePages(at, whole);
  // A kernel that does not know this gives them at first use.
  if (populate) c.madvise(at, BigInt(whole), advicePopulateWrite);
  return viewMemory(at, length);
}

/** Asks for huge pages from there on; a kernel that has none, or was built without them, gives small ones. */
export function adviseHugePages(pointer: Deno.PointerValue, length: number): void {
  c.madvise(pointer, BigInt(length), adviceHugePage);
}

function isMapped(pointer: Deno.PointerValue): pointer is Deno.PointerObject {
  return pointer !== null && Deno.UnsafePointer.value(pointer) !== 0xffff_ffff_ffff_ffffn;
}

/** Maps a ring's shared memory. */
export function mapShared(fd: number, length: number, offset: number): Memory {
  const pointer = c.mmap(0n, BigInt(length), protReadWrite, 0x8001, fd, BigInt(offset));
  if (!isMapped(pointer)) throw new SystemError("mmap", lastErrno(), `ring at ${offset}`);
  return viewMemory(pointer, length);
}

/** Releases a mapping. No view on it may be touched again, and no I/O may be under way in it. */
export function unmap(memory: Memory): void {
  checked(c.munmap(memory.pointer, BigInt(memory.length)), "munmap");
}

/** Gives the pages back to the kernel; the memory reads as zeros afterwards. */
export function forgetPages(memory: Memory, offset: number, length: number): void {
  const pointer = Deno.UnsafePointer.create(BigInt(memory.address + offset));
  checked(c.madvise(pointer, BigInt(length), adviceDontNeed), "madvise");
}

export const openFlags = {
  readOnly: 0,
  readWrite: 2,
  create: 0o100,
  closeOnExec: 0o2000000,
  /** O_DIRECT differs between processors. */
  direct: Deno.build.arch === "aarch64" ? 0o200000 : 0o40000,
} as const;

export function openFile(path: string, flags: number, mode = 0o640): number {
  return checked(c.open(cString(path), flags | openFlags.closeOnExec, mode), "open", path);
}

export function closeFile(fd: number): void {
  c.close(fd);
}

/** Reads until `length` bytes or the end of the file; returns how many came. */
export function readAt(fd: number, into: Memory, at: number, length: number, offset: number) {
  let got = 0;
  while (got < length) {
    const pointer = Deno.UnsafePointer.create(BigInt(into.address + at + got));
    const read = Number(c.pread(fd, pointer, BigInt(length - got), BigInt(offset + got)));
    if (read < 0) {
      const errno = lastErrno();
      if (errno === errnos.EINTR) continue;
      throw new SystemError("pread", errno);
    }
    if (read === 0) break;
    got += read;
  }
  return got;
}

export interface FileExtent {
  readonly from: number;
  readonly to: number;
}

/**
 * The first part of a file at or after `offset` that may hold anything but zeros; undefined when there is none. What was only set aside
 * and never written is left out where the file system knows it, and may be read as data where it does not.
 */
export function writtenExtent(fd: number, offset: number): FileExtent | undefined {
  const seekData = 3;
  const seekHole = 4;
  const from = Number(c.lseek(fd, BigInt(offset), seekData));
  if (from < 0) return lastErrno() === errnos.ENXIO ? undefined : { from: offset, to: Infinity };
  const to = Number(c.lseek(fd, BigInt(from), seekHole));
  return { from, to: to < 0 ? Infinity : to };
}

export function allocateFile(fd: number, length: number): void {
  checked(c.fallocate(fd, 0, 0n, BigInt(length)), "fallocate");
}

export function syncFileData(fd: number): void {
  checked(c.fdatasync(fd), "fdatasync");
}

/** Drops the file's clean pages, so that O_DIRECT users need not throw them out one by one. */
export function forgetCachedPages(fd: number): void {
  c.posix_fadvise(fd, 0n, 0n, 4);
}

/** Takes the file's exclusive lock if nobody has it; it goes with the process. */
export function tryLockFile(fd: number): boolean {
  return c.flock(fd, 2 | 4) === 0;
}

/** A counter that one thread waits for in its ring and another raises with `signalEvent`. */
export function createEvent(): number {
  return checked(c.eventfd(0, 0o2000000), "eventfd");
}

const one = new Uint8Array(new BigUint64Array([1n]).buffer);

/** A plain write: through a ring it would cost a kernel thread (eventfd has no asynchronous write). */
export function signalEvent(fd: number): void {
  c.write(fd, one, 8n);
}

/** A listening Unix stream socket. What was at `path` must be gone. */
export function listenUnix(path: string, backlog: number): number {
  const bytes = new TextEncoder().encode(path);
  if (bytes.length > 107) throw new RangeError(`${path} is too long for a Unix socket`);
  const fd = checked(c.socket(1, 1 | 0o2000000, 0), "socket");
  try {
    const address = new Uint8Array(110);
    address[0] = 1;
    address.set(bytes, 2);
    checked(c.bind(fd, address, 110), "bind", path);
    checked(c.listen(fd, backlog), "listen", path);
    return fd;
  } catch (error) {
    c.close(fd);
    throw error;
  }
}

/** Makes pending receives and sends on the socket end. */
export function shutdownSocket(fd: number): void {
  c.shutdown(fd, 2);
}

/** Asks for larger kernel buffers; a kernel that refuses keeps its own. */
export function enlargeSocketBuffers(fd: number, size_bytes: number): void {
  const value = new Uint8Array(new Int32Array([size_bytes]).buffer);
  for (const [force, plain] of [[32, 7], [33, 8]] as const) {
    if (c.setsockopt(fd, 1, force, value, 4) < 0) c.setsockopt(fd, 1, plain, value, 4);
  }
}

/** Size of the file system at `path` and what an unprivileged user may still take. */
export function fileSystemSpace(path: string): { total_bytes: number; available_bytes: number } {
  const result = new BigUint64Array(32);
  checked(c.statfs(cString(path), new Uint8Array(result.buffer)), "statfs", path);
  // struct statfs on 64-bit Linux: type, bsize, blocks, bfree, bavail, …, all eight bytes.
  const [, blockSize = 0n, blocks = 0n, , available = 0n] = result;
  return {
    total_bytes: Number(blocks * blockSize),
    available_bytes: Number(available * blockSize),
  };
}
