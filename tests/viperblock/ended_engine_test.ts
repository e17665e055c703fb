/** What is left in the process of an engine that was stopped or unmounted. */
import assert from "node:assert/strict";
import { createLog } from "../../services/log/log.ts";
import { VolumeKey } from "../../services/viperblock/encryption/volume_key.ts";
import { openVolume } from "../../services/viperblock/mounts/open_volume.ts";
import { directoryStore } from "./bare_engine.ts";

/** Rings that this process has open. */
function rings(): number {
  let count = 0;
  for (const { name } of Deno.readDirSync("/proc/self/fd")) {
    try {
      if (Deno.readLinkSync(`/proc/self/fd/${name}`) === "anon_inode:[io_uring]") count++;
    } catch (error) {
      // The descriptor that the directory was read with.
      if (!(error instanceof Deno.errors.NotFound)) throw error;
    }
  }
  return count;
}

for (const how of ["stop", "unmount"] as const) {
  Deno.test(`whoever waited for the ${how} of a volume finds its engine gone, with its ring`, async () => {
    // Where files can be read and written past the page cache.
    const home = await Deno.makeTempDir({ prefix: "mulga-ended-", dir: "/var/tmp" });
    try {
      await Deno.mkdir(`${home}/objects`);
      for (let mount = 1; mount <= 5; mount++) {
        const directory = `${home}/${mount}`;
        await Deno.mkdir(directory);
        const volume = await openVolume({
          volumeId: "vol-ended",
          key: VolumeKey.make(),
          sizeBytes: 64 << 20,
          epoch: mount,
          savedEpoch: 0,
          directory,
          socket: `${directory}/nbd`,
          vhostSocket: `${directory}/vhost`,
          store: directoryStore(`${home}/objects`),
          log: createLog("ended", { write: () => {} }),
          cacheBytes: 16 << 20,
          segmentBudget: 8,
          reserveBytes: 0,
          spacePatienceMs: 1000,
        }, () => Promise.resolve({ kind: "empty" }));
        assert.equal(rings(), 1);
        await volume[how]();
        assert.equal(rings(), 0);
      }
    } finally {
      await Deno.remove(home, { recursive: true });
    }
  });
}
