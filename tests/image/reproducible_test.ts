/**
 * The same input gives the same bytes: whoever has this repository can build a release and compare it with
 * the one that was published. One build takes what is in the cache, the other makes everything anew.
 */
import assert from "node:assert/strict";
import { join } from "node:path";
import { mustRun } from "../kit/stack.ts";

Deno.test("two builds of one source are the same, byte for byte, whatever is in the cache", async () => {
  const work = await Deno.makeTempDir({ dir: "/var/tmp", prefix: "mulga-builds-" });
  try {
    const sums = async (output: string, environment: Record<string, string>) => {
      await mustRun(
        [Deno.execPath(), "run", "-A", "tasks/image.ts", "--no-setup", "--output", output],
        { env: environment, timeout_ms: 3_600_000 },
      );
      return await Deno.readTextFile(join(output, "SHA256SUMS"));
    };
    const usual = await sums(join(work, "usual"), {});
    const anew = await sums(join(work, "anew"), { MULGA_IMAGE_CACHE: join(work, "cache") });
    assert.match(usual, /\.raw\.zst$/m);
    assert.equal(anew, usual);
  } finally {
    await mustRun(["rm", "-rf", "--one-file-system", work]);
  }
});
