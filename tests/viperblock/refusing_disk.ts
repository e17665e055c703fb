/** A disk of its own for a test that takes what it can do away from it. */
import assert from "node:assert/strict";
import { until } from "../kit/until.ts";
import { run } from "./engine.ts";

/** A disk whose writes are EIO when it is told so, since what lies beneath it is full. */
export async function refusingDisk() {
  const home = await Deno.makeTempDir({ prefix: "mulga-refusing-", dir: "/var/tmp" });
  const [beneath, at] = [`${home}/beneath`, `${home}/disk`];
  await Deno.mkdir(beneath);
  await Deno.mkdir(at);
  await run("mount", ["-t", "tmpfs", "-o", "size=160m", "tmpfs", beneath]);
  const image = `${beneath}/disk.img`;
  await Deno.writeTextFile(image, "");
  await Deno.truncate(image, 400 << 20);
  await run("mkfs.ext4", ["-q", "-O", "^has_journal", "-E", "lazy_itable_init=0", image]);
  await run("mount", ["-o", "loop", image, at]);
  return {
    at,
    async refuse() {
      const filler = await Deno.open(`${beneath}/filler`, { write: true, createNew: true });
      try {
        for (;;) await filler.write(new Uint8Array(1 << 20));
      } catch (error) {
        assert.equal((error as { code?: string }).code, "ENOSPC");
      } finally {
        filler.close();
      }
    },
    take: () => Deno.remove(`${beneath}/filler`),
    /** As a file system does that found itself damaged, and back. */
    become: (how: "ro" | "rw") => run("mount", ["-o", `remount,${how}`, at]),
    /** Nothing that is written comes to an end until it thaws. */
    freeze: () => run("fsfreeze", ["-f", at]),
    thaw: () => run("fsfreeze", ["-u", at]),
    async [Symbol.asyncDispose]() {
      // The kernel lets go of an ended ring's files a little later.
      await until(
        "nobody has a file of it",
        () => run("umount", [at]).then(() => true, () => false),
      );
      await run("umount", [beneath]);
      await Deno.remove(home, { recursive: true });
    },
  };
}
