/** A disk that does not answer for a moment, just when a volume is opened. */
import assert from "node:assert/strict";
import { createLog } from "../../services/log/log.ts";
import { checkpointName } from "../../services/viperblock/format.ts";
import { openVolume } from "../../services/viperblock/mounts/mounted_volume.ts";
import { directoryStore } from "./bare_engine.ts";

/** Reading the beginning of that is EIO. */
const unreadable = "/proc/self/mem";

async function opened(readAgainMs: readonly number[]) {
  const directory = await Deno.makeTempDir({ prefix: "mulga-moment-", dir: "/var/tmp" });
  const checkpoint = `${directory}/${checkpointName}`;
  await Deno.symlink(unreadable, checkpoint);
  let tries = 0;
  const log = createLog("test", {
    write(line) {
      if (!line.includes("log_unreadable")) return;
      tries++;
      // It answers again.
      Deno.removeSync(checkpoint);
    },
  });
  try {
    const volume = await openVolume({
      volumeId: "vol-moment",
      sizeBytes: 16 << 20,
      epoch: 1,
      savedEpoch: 0,
      directory,
      socket: `${directory}/nbd`,
      store: directoryStore(`${directory}/objects`),
      log,
      cacheBytes: 1 << 20,
      segmentBudget: 4,
      reserveBytes: 0,
      spacePatienceMs: 1000,
      readAgainMs,
    }, () => Promise.resolve({ kind: "empty" }));
    const { damage } = volume;
    await volume.stop();
    return { damage, tries };
  } finally {
    await Deno.remove(directory, { recursive: true });
  }
}

Deno.test("a volume whose disk answers again in a moment is opened for writing, and one whose disk does not for reading", async () => {
  assert.deepEqual(await opened([1, 1]), { damage: undefined, tries: 1 });
  const { damage } = await opened([]);
  assert.equal(damage?.reason, "the checkpoint cannot be read");
});
