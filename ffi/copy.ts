/**
 * Copies between two places of mapped memory by their addresses, for paths on which a view for each copy would be
 * garbage for the collector: `Uint8Array.set` needs one, and costs about three times as much for 4 KiB.
 */
const { symbols } = Deno.dlopen("libc.so.6", {
  // Addresses below 4 GiB as u32 take Deno's fastest path; what the function returns is its first argument.
  memcpy: { parameters: ["u32", "u32", "u32"], result: "void" },
});

/** Whether memory that ends there can be copied by `copyLow`. */
export const isLow = (end: number) => end <= 0xffff_ffff;

/** Both ranges lie below 4 GiB in memory that is mapped, and do not overlap. */
export function copyLow(to: number, from: number, length: number): void {
  symbols.memcpy(to, from, length);
}
