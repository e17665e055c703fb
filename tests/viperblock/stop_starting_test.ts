/** Volumes whose engines are starting while the service stops: whoever waited for the stop finds nothing of them at work. */
import assert from "node:assert/strict";
import { checkpointName } from "../../services/viperblock/format.ts";
import { until } from "../kit/until.ts";
import { startOneRow, volume_id } from "./one_row.ts";

/** Rings that this process has open. */
async function rings(): Promise<number> {
  const files = Array.from(Deno.readDirSync("/proc/self/fd"), ({ name }) => name);
  // The descriptor that the directory was read with is closed by now.
  const links = files.map((name) => Deno.readLink(`/proc/self/fd/${name}`).catch(() => ""));
  return (await Promise.all(links)).filter((link) => link === "anon_inode:[io_uring]").length;
}

Deno.test("a volume whose engine starts while the service stops is stopped, with its engine", async () => {
  await using world = await startOneRow();
  const { mounts } = world;
  let stopped: Promise<void> | undefined;
  // Its engine is started next.
  world.changed = () => stopped = mounts.stop();
  await assert.rejects(mounts.mount(volume_id), { code: "ServiceUnavailable" });
  await stopped;
  assert.equal(world.openLogs(), 0);
  assert.equal(await rings(), 0);
  assert.equal(mounts.count, 0);
  await assert.rejects(mounts.mount(volume_id), { code: "ServiceUnavailable" });
});

Deno.test("a volume whose map the store does not give holds up no stop, and leaves no directory once it does", async () => {
  const asked = Promise.withResolvers<void>();
  const given = Promise.withResolvers<undefined>();
  await using world = await startOneRow((store) => ({
    ...store,
    get() {
      asked.resolve();
      return given.promise;
    },
  }));
  const { mounts } = world;
  world.row = {
    ...world.row,
    map: { key: "maps/vol-row/1", parts: 1, epoch: 1, mapped_blocks: 1, owners: [] },
  };
  const mounting = assert.rejects(mounts.mount(volume_id), { code: "ServiceUnavailable" });
  await asked.promise;
  await mounts.stop();
  await mounting;
  assert.deepEqual([...Deno.readDirSync(world.volumes)], []);
  given.resolve(undefined);
  await new Promise((resolve) => setTimeout(resolve));
  assert.deepEqual([...Deno.readDirSync(world.volumes)], []);
});

Deno.test("a volume whose log is to be read again later holds up no stop", async () => {
  const again = Promise.withResolvers<void>();
  await using world = await startOneRow(undefined, {
    write: (line) => {
      if (line.includes("log_unreadable")) again.resolve();
    },
  });
  const { mounts } = world;
  // Reading the beginning of that is EIO.
  world.changed = () =>
    Deno.symlinkSync("/proc/self/mem", `${world.volumes}/${volume_id}/${checkpointName}`);
  const mounting = assert.rejects(mounts.mount(volume_id), { code: "ServiceUnavailable" });
  await again.promise;
  await mounts.stop();
  await mounting;
  assert.equal(world.openLogs(), 0);
});

Deno.test("a volume whose engine does not come to its beginning holds up the start of the others' service for a while only", async () => {
  const given = Promise.withResolvers<void>();
  const map = { key: "maps/vol-row/1", parts: 1, epoch: 1, mapped_blocks: 1, owners: [] };
  await using world = await startOneRow(
    (store) => ({
      ...store,
      async get() {
        await given.promise;
        return undefined;
      },
    }),
    undefined,
    { startPatienceMs: 50 },
  );
  const { mounts } = world;
  world.row = { ...world.row, mounted_on: "node-1", map_lost: true, map };
  let isRestored = false;
  const restored = mounts.restore().then(() => isRestored = true);
  await until("the others are served", () => isRestored);
  assert.deepEqual([mounts.count, [...mounts.down.keys()]], [0, [volume_id]]);
  given.resolve();
  await until("it is served", () => mounts.count === 1);
  assert.deepEqual([...mounts.down], []);
  await restored;
});
