import assert from "node:assert/strict";
import { type StoredBytes, wholeOf } from "../machine/stored_bytes.ts";
import { type FileSystem, linuxFileSystem } from "../machine/file_system.ts";
import { SimulatedDisk } from "../machine/simulated_disk.ts";
import { World } from "../machine/simulated_world.ts";
import { NoSpace } from "../mounts/orders.ts";
import { BeingMade, LocalFiles } from "./volume_files.ts";

const directory = "/volume";
const segmentBytes = 16 << 10;
const cacheFileBytes = 64 << 10;

/** Lets all the time pass that the work needs. */
async function done<T>(world: World, work: Promise<T>): Promise<T> {
  let over = false;
  const ended = work.finally(() => over = true);
  ended.catch(() => {});
  for (let i = 0; !over && i < 10_000; i++) {
    for (let tick = 0; tick < 8; tick++) await null;
    world.step();
  }
  return await ended;
}

function local() {
  // Chance keeps as little as a power cut may leave.
  const world = new World({ next: () => 0, below: () => 0 });
  const disk = new SimulatedDisk(world, directory, segmentBytes);
  const files = () => new LocalFiles({ system: disk, directory, reserveBytes: 0, segmentBytes });
  return { world, disk, files };
}

Deno.test("a log file that was made is there after a power cut, name and all", async () => {
  const { world, disk, files } = local();
  const path = await done(world, files().makeLog());
  disk.powerCut();
  assert.deepEqual(disk.openAll().map((file) => file.path), [path]);
  assert.notEqual(await done(world, files().makeLog()), path);
});

Deno.test("whenever the process or the power ends, a log file has its name only if it is whole", async () => {
  let halfMade = 0;
  let whole = 0;
  for (const end of ["process", "power"] as const) {
    let over = false;
    for (let moment = 0; !over; moment++) {
      const { world, disk, files } = local();
      await done(world, files().makeLog());
      const made = files();
      const work = made.makeLog().then(() => made.makeLog()).then(() => over = true);
      for (let step = 0; step < moment && !over; step++) {
        for (let tick = 0; tick < 8; tick++) await null;
        world.step();
      }
      if (over) await work;
      if (end === "power") disk.powerCut();
      else disk.processEnd();
      for (const { fd, path } of disk.openAll()) {
        assert.equal(disk.file(fd).bytes.length, segmentBytes, `${path} at moment ${moment}`);
        whole++;
      }
      halfMade += disk.names().filter((name) => name.endsWith(".new")).length;
      // The next opening's first file is made, and nothing half made is left.
      await done(world, files().makeLog());
      assert.deepEqual(disk.names().filter((name) => !/^log-\d+\.seg$/.test(name)), []);
    }
  }
  assert.ok(halfMade > 0 && whole > 0);
});

Deno.test("a checkpoint takes the place of the one before it whole or not at all", async () => {
  const { world, disk, files } = local();
  const made = files();
  const write = async (content: number, replace: boolean) => {
    await made.beginCheckpoint();
    await made.appendCheckpoint(new Uint8Array(1000).fill(content));
    await made.appendCheckpoint(new Uint8Array(500).fill(content));
    if (replace) await made.replaceCheckpoint();
  };
  await done(world, write(1, true));
  await done(world, write(2, false));
  disk.powerCut();
  assert.deepEqual(wholeOf(disk.checkpoint() as StoredBytes), new Uint8Array(1500).fill(1));
  await done(world, write(3, true));
  disk.powerCut();
  assert.deepEqual(wholeOf(disk.checkpoint() as StoredBytes), new Uint8Array(1500).fill(3));
});

Deno.test("no log file is made where there is no room, and none is left half made", async () => {
  const { world, disk, files } = local();
  disk.room = 1;
  await done(world, files().makeLog());
  await assert.rejects(done(world, files().makeLog()), NoSpace);
  assert.equal(disk.names().length, 1);
});

Deno.test("the first two log files of an opening are only set aside, later ones are written; all have their space and hold zeros", async () => {
  const home = await Deno.makeTempDir({ prefix: "mulga-log-", dir: "/var/tmp" });
  try {
    const written: string[] = [];
    const system: FileSystem = {
      ...linuxFileSystem,
      async create(path, fresh) {
        const file = await linuxFileSystem.create(path, fresh);
        return {
          ...file,
          write(bytes) {
            written.push(path);
            return file.write(bytes);
          },
        };
      },
    };
    const files = new LocalFiles({ system, directory: home, reserveBytes: 0, segmentBytes });
    const [first, second] = [await files.makeLog(), await files.makeLog()];
    const third = await files.makeLog();
    for (const path of [first, second, third]) {
      assert.deepEqual(await Deno.readFile(path), new Uint8Array(segmentBytes));
      assert.ok(((await Deno.stat(path)).blocks ?? 0) * 512 >= segmentBytes);
    }
    assert.deepEqual(written, [`${third}.new`]);
    // Where a file system cannot set space aside it is written to.
    written.length = 0;
    const other = new LocalFiles({
      system: { ...system, allocate: () => Promise.resolve(false) },
      directory: home,
      reserveBytes: 0,
      segmentBytes,
    });
    const fourth = await other.makeLog();
    assert.deepEqual(written, [`${fourth}.new`]);
  } finally {
    await Deno.remove(home, { recursive: true });
  }
});

Deno.test("who makes a log file too late removes none that was made in its place", async () => {
  const directory = await Deno.makeTempDir({ prefix: "mulga-files-", dir: "/var/tmp" });
  try {
    const options = { directory, reserveBytes: 0, segmentBytes };
    const reached = Promise.withResolvers<void>();
    const goOn = Promise.withResolvers<void>();
    const slow: FileSystem = {
      ...linuxFileSystem,
      async markUntouched(path) {
        reached.resolve();
        await goOn.promise;
        await linuxFileSystem.markUntouched(path);
      },
    };
    const late = new LocalFiles({ ...options, system: slow }).makeLog();
    late.catch(() => {});
    await reached.promise;
    const path = await new LocalFiles({ ...options, system: linuxFileSystem }).makeLog();
    goOn.resolve();
    await assert.rejects(late);
    assert.equal((await Deno.stat(path)).size, segmentBytes);
  } finally {
    await Deno.remove(directory, { recursive: true });
  }
});

/** Volumes of one disk that sets space aside, or is written to. */
function together(room: number, reserveBytes: number, setsAside: boolean) {
  const disk = { available: room };
  const file = {
    // deno-lint-ignore require-await
    write: async ({ length }: Uint8Array) => void (disk.available -= length),
    sync: () => Promise.resolve(),
    close: () => {},
  };
  const system = {
    names: () => [],
    availableBytes: () => disk.available,
    create: () => Promise.resolve(file),
    // deno-lint-ignore require-await
    allocate: async (_path: string, length: number) => {
      if (setsAside) disk.available -= length;
      return setsAside;
    },
    forgetCached: () => {},
    markUntouched: () => Promise.resolve(),
    rename: () => Promise.resolve(),
    remove: () => Promise.resolve(),
    syncDirectory: () => Promise.resolve(),
  } as unknown as FileSystem;
  const beingMade = new BeingMade();
  const files = { beingMade, system, reserveBytes, segmentBytes, cacheFileBytes };
  const volumes = Array.from(
    { length: 5 },
    (_, i) => new LocalFiles({ ...files, directory: `/v${i}` }),
  );
  return { disk, volumes };
}

const counted = (made: readonly PromiseSettledResult<unknown>[]) =>
  made.filter(({ status }) => status === "fulfilled").length;

Deno.test("volumes that make log files at once keep out of the reserve together", async () => {
  const reserveBytes = 2 * segmentBytes;
  const { disk, volumes } = together(5 * segmentBytes, reserveBytes, false);
  assert.equal(counted(await Promise.allSettled(volumes.map((volume) => volume.makeLog()))), 3);
  assert.ok(disk.available >= reserveBytes, `${disk.available} bytes are left of ${reserveBytes}`);
  disk.available = 3 * segmentBytes;
  await volumes[0]?.makeLog();
});

Deno.test("volumes that make files for kept chunks at once leave room for log files together", async () => {
  const kept = 8 * segmentBytes;
  const { disk, volumes } = together(kept + 2 * cacheFileBytes, 0, true);
  assert.equal(counted(await Promise.allSettled(volumes.map((volume) => volume.makeCache()))), 2);
  assert.equal(disk.available, kept);
  disk.available = kept + cacheFileBytes;
  await volumes[4]?.makeCache();
});
