/** What tests do to a storage directory behind the store's back. */
import assert from "node:assert/strict";
import { join } from "node:path";
import { Fsck } from "./upkeep/fsck.ts";
import type { TestStore } from "./test_store.ts";

/** Paths of its segments, oldest first. */
export async function segmentsOf(blob: string): Promise<string[]> {
  const names: string[] = [];
  for await (const { name } of Deno.readDir(join(blob, "segments"))) names.push(name);
  return names.sort().map((name) => join(blob, "segments", name));
}

export async function empty(blob: string): Promise<void> {
  await Deno.remove(blob, { recursive: true });
  await Deno.mkdir(blob);
}

/** One bit of every `step` bytes of every segment, from `first` on. */
export async function flipBits(blob: string, first: number, step: number): Promise<void> {
  for (const path of await segmentsOf(blob)) {
    const bytes = await Deno.readFile(path);
    for (let at = first; at < bytes.length; at += step) bytes[at] = (bytes[at] ?? 0) ^ 0x10;
    await Deno.writeFile(path, bytes);
  }
}

/** Leaves a third of every segment. */
export async function truncate(blob: string): Promise<void> {
  for (const path of await segmentsOf(blob)) {
    await Deno.truncate(path, Math.floor((await Deno.stat(path)).size / 3));
  }
}

export async function zero(blob: string): Promise<void> {
  for (const path of await segmentsOf(blob)) {
    await Deno.writeFile(path, new Uint8Array((await Deno.stat(path)).size));
  }
}

/** Each of the others is lost, one after the other, and what it had is made anew. */
export async function replaceOthers(test: TestStore, victim: number): Promise<void> {
  for (const [at, blob] of test.blobs.entries()) {
    if (at === victim) continue;
    await test.reopen({ between: () => Deno.remove(blob, { recursive: true }) });
    await test.store.repair.run();
    const report = await new Fsck(test.store).run(new AbortController().signal);
    assert.deepEqual(report.findings, []);
    assert.equal(report.full_redundancy, true);
  }
}
