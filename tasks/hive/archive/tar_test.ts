import assert from "node:assert/strict";
import { join } from "node:path";
import { ArchiveError, readTar, writeTar } from "./tar.ts";

async function archive(entries: Parameters<typeof writeTar>[0]): Promise<Uint8Array<ArrayBuffer>> {
  const parts = await Array.fromAsync(writeTar(entries));
  return new Uint8Array(await new Blob(parts).arrayBuffer());
}

async function* pieces(bytes: Uint8Array<ArrayBuffer>, size: number) {
  for (let at = 0; at < bytes.length; at += size) yield bytes.subarray(at, at + size);
}

const text = (words: string) => new TextEncoder().encode(words);
const entries = [
  { name: "config.json", bytes: text("{}"), mode: 0o600 },
  { name: "a/b/c.seed", bytes: new Uint8Array(0), mode: 0o400 },
  { name: "blocks/full", bytes: new Uint8Array(1024).fill(7), mode: 0o644 },
];

Deno.test("an archive is read back as written, whatever pieces it comes in, and tar reads it too", async () => {
  const whole = await archive(entries);
  for (const size of [1, 511, 512, 513, whole.length]) {
    const back = await Array.fromAsync(readTar(pieces(whole, size), 1 << 20));
    assert.deepEqual(
      back.map(({ name, bytes, mode }) => ({ name, bytes, mode })),
      entries,
      `${size}`,
    );
  }
  const directory = await Deno.makeTempDir();
  try {
    await Deno.writeFile(join(directory, "a.tar"), whole);
    const { success } = await new Deno.Command("tar", {
      args: ["-xf", "a.tar"],
      cwd: directory,
    }).output();
    assert.ok(success);
    assert.deepEqual(await Deno.readFile(join(directory, "blocks/full")), entries[2]?.bytes);
  } finally {
    await Deno.remove(directory, { recursive: true });
  }
});

Deno.test("an archive that is cut, bent or hostile is refused", async () => {
  const whole = await archive(entries);
  const read = (bytes: Uint8Array<ArrayBuffer>) =>
    Array.fromAsync(readTar(pieces(bytes, 4096), 1 << 20));
  for (const length of [0, 100, 512, 1100, 2600]) {
    await assert.rejects(read(whole.slice(0, length)), ArchiveError, `${length}`);
  }
  const bent = whole.slice();
  bent[3] = 0x41;
  await assert.rejects(read(bent), ArchiveError);
  await assert.rejects(Array.fromAsync(readTar(pieces(whole, 512), 1000)), ArchiveError);
  for (
    const name of ["../x", "/etc/passwd", "a/../b", ".hidden", "a//b", "a\nb", "", "x".repeat(100)]
  ) {
    await assert.rejects(archive([{ name, bytes: text("") }]), ArchiveError, name);
  }
});
