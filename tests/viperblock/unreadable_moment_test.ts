/** A disk that does not answer for a moment, just when a volume is opened. */
import assert from "node:assert/strict";
import { createLog } from "../../services/log/log.ts";
import { checkpointName } from "../../services/viperblock/format.ts";
import { openVolume } from "../../services/viperblock/mounts/open_volume.ts";
import { directoryStore } from "./bare_engine.ts";
import { unopened } from "./unopened.ts";

/** Reading the beginning of that is EIO. */
const unreadable = "/proc/self/mem";

async function opened(
  readAgainMs: readonly number[],
  name: string = checkpointName,
  to = unreadable,
) {
  const directory = await Deno.makeTempDir({ prefix: "mulga-moment-", dir: "/var/tmp" });
  const file = `${directory}/${name}`;
  await Deno.symlink(to, file);
  let tries = 0;
  const log = createLog("test", {
    write(line) {
      if (!line.includes("log_unreadable")) return;
      tries++;
      // It answers again.
      Deno.removeSync(file);
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

Deno.test("a log file that cannot be opened for a moment is opened then, and without it the volume is served for reading", async () => {
  using terminal = unopened();
  const name = "log-3.seg";
  assert.deepEqual(await opened([1, 1], name, terminal.path), { damage: undefined, tries: 1 });
  const { damage } = await opened([], name, terminal.path);
  assert.match(damage?.reason ?? "", /log-3\.seg cannot be opened: EIO$/);
  assert.match(damage?.damage[0]?.why ?? "", /log-3\.seg cannot be opened: EIO$/);
});

Deno.test("a checkpoint that cannot be opened for a moment is opened then, and without it the volume is served for reading", async () => {
  using terminal = unopened();
  const [name, to] = [checkpointName, terminal.path];
  assert.deepEqual(await opened([1, 1], name, to), { damage: undefined, tries: 1 });
  const { damage } = await opened([], name, to);
  assert.equal(damage?.reason, "the checkpoint cannot be opened");
});

Deno.test("a directory that cannot be listed takes no memory, however often it is tried", async () => {
  const mapped = () => {
    const [pages = ""] = Deno.readTextFileSync("/proc/self/statm").split(" ");
    return Number(pages) * 4096;
  };
  const log = createLog("test", { write: () => {} });
  const before = mapped();
  for (let i = 0; i < 100; i++) {
    const opened = openVolume({
      volumeId: "vol-moment",
      sizeBytes: 16 << 20,
      epoch: 1,
      savedEpoch: 0,
      directory: "/var/tmp/mulga-missing",
      socket: "/var/tmp/mulga-missing/nbd",
      store: directoryStore("/var/tmp/mulga-missing/objects"),
      log,
      cacheBytes: 1 << 20,
      segmentBudget: 4,
      reserveBytes: 0,
      spacePatienceMs: 1000,
    }, () => Promise.resolve({ kind: "empty" }));
    await assert.rejects(opened, Deno.errors.NotFound);
  }
  // Each would have 10 MiB for what passes to and from the store.
  assert.ok(mapped() - before < 500 << 20);
});
