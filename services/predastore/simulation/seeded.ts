import type { Random } from "../disk/simulated_disk.ts";

/** Runs with random numbers that follow from a seed. */
export async function withRandom<T>(random: Random, work: () => Promise<T>): Promise<T> {
  const real = crypto.getRandomValues;
  crypto.getRandomValues = ((into: ArrayBufferView) => {
    const bytes = new Uint8Array(into.buffer, into.byteOffset, into.byteLength);
    for (let at = 0; at < bytes.length; at++) bytes[at] = random(256);
    return into;
  }) as typeof crypto.getRandomValues;
  try {
    return await work();
  } finally {
    crypto.getRandomValues = real;
  }
}
