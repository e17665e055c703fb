/**
 * Programs that speak NBD, with everything that the engine offers them: structured replies, states of
 * extents, sparse copies, several connections.
 */
import assert from "node:assert/strict";
import { type BareEngine, startBare } from "./bare_engine.ts";
import { run } from "./engine.ts";
import { NbdClient } from "./nbd_client.ts";

const mebi = 1 << 20;
const size = 256 * mebi;

interface Served {
  readonly directory: string;
  readonly socket: string;
  readonly uri: string;
}

async function withVolume(work: (served: Served) => Promise<void>): Promise<void> {
  const directory = await Deno.makeTempDir({ prefix: "mulga-clients-", dir: "/var/tmp" });
  const socket = `${directory}/nbd`;
  let engine: BareEngine | undefined;
  try {
    engine = await startBare({ directory, socket, sizeBytes: size, epoch: 1 });
    await work({ directory, socket, uri: `nbd+unix:///vol-bare?socket=${socket}` });
  } finally {
    await engine?.kill();
    await Deno.remove(directory, { recursive: true });
  }
}

/** Three extents of data, one of them of a single block. */
async function fill(socket: string): Promise<void> {
  await using client = await NbdClient.connect(socket, "vol-bare");
  await client.write(mebi, new Uint8Array(2 * mebi).fill(1));
  await client.write(10 * mebi, new Uint8Array(4096).fill(2));
  await client.write(200 * mebi, new Uint8Array(mebi).fill(3));
  // What was written and zeroed, trimmed or overwritten with zeros is a hole again.
  await client.write(50 * mebi, new Uint8Array(mebi).fill(4));
  await client.trim(50 * mebi, mebi);
  await client.write(60 * mebi, new Uint8Array(mebi).fill(4));
  await client.zero(60 * mebi, mebi);
  await client.write(70 * mebi, new Uint8Array(mebi).fill(4));
  await client.write(70 * mebi, new Uint8Array(mebi));
  await client.flush();
}

const written = [
  [0, mebi, false],
  [mebi, 2 * mebi, true],
  [3 * mebi, 7 * mebi, false],
  [10 * mebi, 4096, true],
  [10 * mebi + 4096, 190 * mebi - 4096, false],
  [200 * mebi, mebi, true],
  [201 * mebi, 55 * mebi, false],
] as const;

Deno.test("nbdinfo is told what the export can do, and its map is what was written", async () => {
  await withVolume(async ({ socket, uri }) => {
    await fill(socket);
    const { exports: [told], structured } = JSON.parse(await run("nbdinfo", ["--json", uri]));
    assert.equal(structured, true);
    assert.equal(told["export-size"], size);
    assert.deepEqual(told.contexts, ["base:allocation"]);
    for (
      const can of ["multi_conn", "df", "fast_zero", "flush", "fua", "trim", "zero"]
    ) assert.equal(told[`can_${can}`], true, can);
    assert.equal(told.is_read_only, false);
    assert.deepEqual(
      [told.block_size_minimum, told.block_size_preferred, told.block_size_maximum],
      [1, 4096, 32 * mebi],
    );
    const map: { offset: number; length: number; type: number }[] = JSON.parse(
      await run("nbdinfo", ["--map", "--json", uri]),
    );
    assert.deepEqual(
      map.map(({ offset, length, type }) => [offset, length, type === 0]),
      written,
    );
    const qemu: { start: number; length: number; data: boolean; zero: boolean }[] = JSON.parse(
      await run("qemu-img", ["map", "--output=json", "-f", "raw", uri]),
    );
    assert.deepEqual(qemu.map(({ start, length, data }) => [start, length, data]), written);
    assert.ok(qemu.every(({ data, zero }) => zero !== data));
  });
});

Deno.test("copies by nbdcopy and qemu-img are equal, and only what is allocated takes space", async () => {
  await withVolume(async ({ directory, socket, uri }) => {
    await fill(socket);
    const images = [`${directory}/nbdcopy.raw`, `${directory}/convert.raw`] as const;
    await run("nbdcopy", [uri, images[0]]);
    await run("qemu-img", ["convert", "-f", "raw", "-O", "raw", uri, images[1]]);
    for (const image of images) {
      await run("qemu-img", ["compare", "-f", "raw", "-F", "raw", uri, image]);
      const { blocks } = await Deno.stat(image);
      assert.ok((blocks ?? 0) * 512 < 5 * mebi, `${image} takes ${blocks} sectors`);
    }
    // The way back: what the image has as holes is zeroed here, over several connections.
    assert.equal((await Deno.stat(images[0])).size, size);
    await run("qemu-io", ["-f", "raw", "-c", "write -P 9 100M 4M", uri]);
    await run("nbdcopy", ["--connections=4", images[0], uri]);
    await run("qemu-img", ["compare", "-f", "raw", "-F", "raw", uri, images[0]]);
    const map = await run("nbdinfo", ["--map", "--totals", uri]);
    assert.match(map, /^\s*3149824\s.*data/m, map);
  });
});

Deno.test("qemu-io reads zeros, data and both in one request", async () => {
  await withVolume(async ({ socket, uri }) => {
    await fill(socket);
    await run("qemu-io", [
      "-f",
      "raw",
      ...[
        "read -P 0 0 1M",
        "read -P 1 1M 2M",
        "read -P 2 10M 4k",
        "read -P 0 10244k 28M",
        "read -P 3 -s 16M -l 1M 184M 32M",
        "read -P 0 -s 0 -l 16M 184M 32M",
        "read -P 0 -s 17M -l 15M 184M 32M",
        "read -P 3 -s 1025 -l 1000 204799k 4096",
        "read -P 0 52428801 1000001",
        "write -z -u 1M 1M",
        "read -P 0 1M 1M",
        "read -P 1 2M 1M",
      ].flatMap((command) => ["-c", command]),
      uri,
    ]);
  });
});

Deno.test("fio finds what it wrote, unaligned as it may be", async () => {
  await withVolume(async ({ uri }) => {
    await run("timeout", [
      "-k",
      "5",
      "600",
      "fio",
      "--thread",
      "--name=verify",
      "--ioengine=nbd",
      `--uri=${uri}`,
      "--rw=randwrite",
      "--bsrange=512-128k",
      "--blockalign=512",
      "--size=64M",
      "--io_size=32M",
      "--iodepth=32",
      "--verify=crc32c",
      "--verify_fatal=1",
      "--verify_state_save=0",
      "--randseed=7",
    ]);
  });
});
