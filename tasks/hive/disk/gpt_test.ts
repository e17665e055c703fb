import assert from "node:assert/strict";
import { join } from "node:path";
import {
  NoPartitionTable,
  partitionTypes,
  readPartitionTable,
  renamePartition,
  writePartitionTable,
} from "./gpt.ts";

async function sfdisk(args: string[], input: string): Promise<string> {
  const child = new Deno.Command("sfdisk", { args, stdin: "piped", stdout: "piped" }).spawn();
  const writer = child.stdin.getWriter();
  await writer.write(new TextEncoder().encode(input));
  await writer.close();
  const { success, stdout } = await child.output();
  assert.ok(success, "sfdisk failed");
  return new TextDecoder().decode(stdout);
}

async function withDisk(work: (disk: string) => Promise<void>): Promise<void> {
  const directory = await Deno.makeTempDir();
  try {
    const disk = join(directory, "disk.img");
    await Deno.writeFile(disk, new Uint8Array(0));
    await Deno.truncate(disk, 32 << 20);
    await sfdisk(
      ["-q", disk],
      `label: gpt\nsize=8M, type=${partitionTypes.esp}, name=esp\n` +
        `size=8M, type=${partitionTypes["root-x86-64"]}, name=mulgaos_0.1.0\n`,
    );
    await work(disk);
  } finally {
    await Deno.remove(directory, { recursive: true });
  }
}

Deno.test("a table is read as sfdisk wrote it, and a new name is what sfdisk reads", async () => {
  await withDisk(async (disk) => {
    const before = await readPartitionTable(disk);
    const { partitiontable: theirs } = JSON.parse(await sfdisk(["--json", disk], ""));
    assert.equal(before.disk_uuid, theirs.id.toLowerCase());
    assert.deepEqual(
      before.partitions.map((one) => [one.name, one.uuid, one.start_bytes, one.size_bytes]),
      theirs.partitions.map((one: { name: string; uuid: string; start: number; size: number }) => [
        one.name,
        one.uuid.toLowerCase(),
        one.start * 512,
        one.size * 512,
      ]),
    );
    await renamePartition(disk, 2, "_empty");
    assert.equal((await readPartitionTable(disk)).partitions[1]?.name, "_empty");
    assert.match(await sfdisk(["--dump", disk], ""), /name="_empty"/);
    await sfdisk(["--verify", disk], "");
  });
});

Deno.test("a damaged primary table is read from the copy, and none at all is said", async () => {
  await withDisk(async (disk) => {
    const whole = await readPartitionTable(disk);
    {
      using file = await Deno.open(disk, { write: true });
      await file.seek(512 + 40, Deno.SeekMode.Start);
      await file.write(new Uint8Array([0xff]));
    }
    assert.deepEqual(await readPartitionTable(disk), whole);
    await renamePartition(disk, 1, "boot");
    assert.equal((await readPartitionTable(disk)).partitions[0]?.name, "boot");
    {
      using file = await Deno.open(disk, { write: true });
      await file.write(new Uint8Array(1 << 20));
      await file.seek(-(1 << 20), Deno.SeekMode.End);
      await file.write(new Uint8Array(1 << 20));
    }
    await assert.rejects(readPartitionTable(disk), NoPartitionTable);
    await assert.rejects(renamePartition(disk, 1, "x"), NoPartitionTable);
    await Deno.truncate(disk, 100);
    await assert.rejects(readPartitionTable(disk), NoPartitionTable);
  });
});

Deno.test("a table that is written over another is what sfdisk and we read, and keeps its flags", async () => {
  await withDisk(async (disk) => {
    const table = {
      disk_uuid: crypto.randomUUID(),
      sector_bytes: 512,
      partitions: [{
        number: 1,
        type: partitionTypes.esp,
        uuid: crypto.randomUUID(),
        name: "esp",
        start_bytes: 1 << 20,
        size_bytes: 4 << 20,
        attributes: 0n,
      }, {
        number: 3,
        type: partitionTypes["root-x86-64"],
        uuid: crypto.randomUUID(),
        name: "mulgaos_0.2.0",
        start_bytes: 5 << 20,
        size_bytes: 8 << 20,
        attributes: 1n << 60n,
      }],
    };
    await writePartitionTable(disk, table);
    assert.deepEqual(await readPartitionTable(disk), table);
    assert.match(await sfdisk(["--verify", disk], ""), /No errors/);
    const dump = await sfdisk(["--dump", disk], "");
    assert.match(dump, /name="mulgaos_0\.2\.0".*attrs="GUID:60"/);
    const tooLarge = { ...table.partitions[0], size_bytes: 1 << 30 } as typeof table.partitions[0];
    await assert.rejects(
      writePartitionTable(disk, { ...table, partitions: [tooLarge] }),
      /does not fit/,
    );
    assert.deepEqual(await readPartitionTable(disk), table);
  });
});
