/**
 * Has the C library give large memory back to the kernel as soon as it is free.
 *
 * By itself glibc asks the kernel only for the first large buffers: each one that is freed raises the size from
 * which it does so, up to 32 MiB, and all others come from a heap that shrinks at its end alone. A service
 * whose buffers are of 256 KiB to a MiB then keeps as much as it ever held at once, with holes that the
 * next sizes do not fit. With a fixed size every such buffer is a mapping of its own.
 */

/** Of <malloc.h>. */
const M_MMAP_THRESHOLD = -3;

/**
 * From now on memory of so many bytes or more is mapped, and unmapped when it is free.
 * @throws Error when the C library refuses it
 */
export function mapMemoryFrom(bytes: number): void {
  const library = Deno.dlopen("libc.so.6", {
    mallopt: { parameters: ["i32", "i32"], result: "i32" },
  });
  try {
    if (library.symbols.mallopt(M_MMAP_THRESHOLD, bytes) === 1) return;
    throw new Error(`the C library does not map memory from ${bytes} bytes on`);
  } finally {
    library.close();
  }
}
