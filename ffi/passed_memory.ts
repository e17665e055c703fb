/**
 * Memory and events that another process passes through a Unix socket: what guests share with the
 * storage engine.
 *
 * What always holds: memory is mapped only when its file is long enough and sealed against becoming shorter,
 * because touching a page that is gone would end this process (SIGBUS). A descriptor is
 * taken for an event only when the kernel says that it is one, so that writing to it never blocks on
 * something else. A mapping is released only by `unmap` of `libc.ts`, when no view is used any more.
 */
import { type Memory, SystemError, viewMemory } from "./libc.ts";

const library = Deno.dlopen("libc.so.6", {
  mmap: { parameters: ["usize", "usize", "i32", "i32", "i32", "i64"], result: "pointer" },
  fcntl: { parameters: ["i32", "i32", "i32"], result: "i32" },
  lseek: { parameters: ["i32", "i64", "i32"], result: "i64" },
  readlink: { parameters: ["buffer", "buffer", "usize"], result: "isize" },
  memfd_create: { parameters: ["buffer", "u32"], result: "i32" },
  ftruncate: { parameters: ["i32", "i64"], result: "i32" },
  __errno_location: { parameters: [], result: "pointer" },
});
const c = library.symbols;

const setStatusFlags = 4;
const addSeals = 1033;
const getSeals = 1034;
const sealShrink = 2;
const sealGrow = 4;
const seekEnd = 2;
const readWrite = 3;
/** MAP_SHARED and MAP_NORESERVE: a guest's memory is mapped whole and touched where it is used. */
const mapFlags = 0x1 | 0x4000;
/** O_RDWR and O_NONBLOCK. */
const nonBlocking = 0o2 | 0o4000;

const cString = (text: string) => new TextEncoder().encode(`${text}\0`);

function lastErrno(): number {
  const at = c.__errno_location();
  return at === null ? 0 : new Deno.UnsafePointerView(at).getInt32();
}

/** Why memory that was passed is not mapped. */
export class MemoryRefused extends Error {
  override readonly name = "MemoryRefused";
}

/** What `readlink` says of one of this process' descriptors. */
function describe(fd: number): string {
  const buffer = new Uint8Array(256);
  const length = Number(c.readlink(cString(`/proc/self/fd/${fd}`), buffer, 256n));
  return length < 0 ? "" : new TextDecoder().decode(buffer.subarray(0, length));
}

/** Whether the descriptor is an eventfd. */
export function isEvent(fd: number): boolean {
  return describe(fd) === "anon_inode:[eventfd]";
}

/** Makes writes to an event that is full fail instead of waiting. */
export function neverWait(fd: number): void {
  c.fcntl(fd, setStatusFlags, nonBlocking);
}

/** Maps `length` bytes at `offset` of a file that somebody passed. @throws MemoryRefused */
export function mapPassed(fd: number, length: number, offset: number): Memory {
  const seals = c.fcntl(fd, getSeals, 0);
  if (seals < 0 || (seals & sealShrink) === 0) {
    throw new MemoryRefused("the memory is not sealed against shrinking (memfd with seal=on)");
  }
  const size = Number(c.lseek(fd, 0n, seekEnd));
  if (length <= 0 || offset + length > size) {
    throw new MemoryRefused(`${length} bytes at ${offset} do not lie in a file of ${size}`);
  }
  return mapShared(fd, length, offset);
}

function mapShared(fd: number, length: number, offset: number): Memory {
  const pointer = c.mmap(0n, BigInt(length), readWrite, mapFlags, fd, BigInt(offset));
  if (pointer === null || Deno.UnsafePointer.value(pointer) === 0xffff_ffff_ffff_ffffn) {
    throw new MemoryRefused(`mmap of ${length} bytes failed with errno ${lastErrno()}`);
  }
  return viewMemory(pointer, length);
}

/** Memory that can be passed on: zeroed, sealed to its size, mapped here. @throws SystemError */
export function createPassable(name: string, length: number): { fd: number; memory: Memory } {
  const closeOnExec = 1;
  const allowSealing = 2;
  const fd = c.memfd_create(cString(name), closeOnExec | allowSealing);
  if (fd < 0) throw new SystemError("memfd_create", lastErrno());
  if (c.ftruncate(fd, BigInt(length)) < 0) throw new SystemError("ftruncate", lastErrno());
  c.fcntl(fd, addSeals, sealShrink | sealGrow);
  return { fd, memory: mapShared(fd, length, 0) };
}
