/** A disk that gives what it has and takes nothing more: its volumes are served for reading. */
import assert from "node:assert/strict";
import { createLog } from "../../services/log/log.ts";
import { AskedDisk } from "../../services/viperblock/mounts/asked_disk.ts";
import { WorkerFailed } from "../../services/viperblock/mounts/mount_options.ts";
import { openVolume } from "../../services/viperblock/mounts/open_volume.ts";
import { directoryStore } from "./bare_engine.ts";
import { run } from "./engine.ts";
import { NbdClient } from "./nbd_client.ts";
import { refusingDisk } from "./refusing_disk.ts";

const socket = `/var/tmp/mulga-refused-${Deno.pid}`;
const connect = () => NbdClient.connect(socket, "vol-refused");

/** @param spacePatienceMs how long is waited for room, which is there */
const opened = (directory: string, epoch: number, spacePatienceMs = 300) =>
  openVolume({
    volumeId: "vol-refused",
    sizeBytes: 64 << 20,
    epoch,
    savedEpoch: 0,
    directory,
    socket,
    store: directoryStore(`${directory}/objects`),
    log: createLog("test", { write: () => {} }),
    cacheBytes: 8 << 20,
    segmentBudget: 8,
    reserveBytes: 0,
    spacePatienceMs,
    readAgainMs: [1],
  }, () => Promise.resolve({ kind: "empty" }));

Deno.test(
  "a volume whose disk takes no writes any more is served for reading, and says so",
  { ignore: Deno.uid() !== 0 },
  async () => {
    await using disk = await refusingDisk();
    const directory = `${disk.at}/volume`;
    await Deno.mkdir(directory);
    const open = (epoch: number) => opened(directory, epoch);
    const content = new Uint8Array(4096).fill(7);
    const first = await open(1);
    {
      await using client = await connect();
      await client.write(0, content, true);
    }
    await first.stop();
    await run("sync", ["-f", disk.at]);
    await disk.refuse();
    const volume = await open(2);
    const asked = new AskedDisk(directory);
    try {
      assert.match(volume.damage?.reason ?? "", /^the log takes no writes: /);
      await assert.rejects(volume.freeze(), WorkerFailed);
      assert.ok(volume.waitsForDisk);
      await using client = await connect();
      assert.deepEqual(new Uint8Array(await client.read(0, 4096)), content);
      await assert.rejects(client.write(0, content));
      assert.match(await asked.refusal() ?? "", /asked\.new: /);
      await disk.take();
      assert.equal(await asked.refusal(), undefined);
    } finally {
      await volume.stop();
    }
    const again = await open(3);
    try {
      assert.equal(again.damage, undefined);
      await using client = await connect();
      assert.deepEqual(new Uint8Array(await client.read(0, 4096)), content);
      await client.write(4096, content, true);
    } finally {
      await again.stop();
    }
  },
);

Deno.test(
  "a volume without a log whose file system has become read-only is served for reading, and says so",
  { ignore: Deno.uid() !== 0 },
  async () => {
    await using disk = await refusingDisk();
    const directory = `${disk.at}/volume`;
    await Deno.mkdir(directory);
    await disk.become("ro");
    const volume = await opened(directory, 1, 3_600_000);
    const asked = new AskedDisk(directory);
    try {
      assert.match(volume.damage?.reason ?? "", /^no log file can be made: /);
      assert.ok(volume.waitsForDisk);
      await using client = await connect();
      assert.deepEqual(new Uint8Array(await client.read(0, 4096)), new Uint8Array(4096));
      assert.match(await asked.refusal() ?? "", /asked\.new: /);
      await disk.become("rw");
      assert.equal(await asked.refusal(), undefined);
    } finally {
      await volume.stop();
    }
    const again = await opened(directory, 2);
    assert.equal(again.damage, undefined);
    await again.stop();
  },
);
