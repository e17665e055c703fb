import assert from "node:assert/strict";
import { cacheFileBytes } from "../format.ts";
import { LeftCaches } from "./left_caches.ts";

Deno.test("of volumes that are not mounted only kept chunks stay, and those that were left longest go first", async () => {
  const home = await Deno.makeTempDir({ prefix: "mulga-left-" });
  const names = (id: string) =>
    Array.from(Deno.readDirSync(`${home}/${id}`), ({ name }) => name).sort();
  const make = async (id: string, ...files: string[]) => {
    await Deno.mkdir(`${home}/${id}`);
    for (const name of files) await Deno.writeTextFile(`${home}/${id}/${name}`, "");
  };
  try {
    const left = new LeftCaches(home);
    await make("vol-a", "cache-0.chk", "cache-3.chk", "log-0.seg", "map.ckpt", "mounted.json");
    await make("vol-b", "cache-1.chk", "log-0.seg.new");
    await make("vol-c", "log-0.seg");
    for (const id of ["vol-a", "vol-b", "vol-c", "vol-none"]) await left.leave(id);
    assert.deepEqual(names("vol-a"), ["cache-0.chk", "cache-3.chk"]);
    assert.deepEqual(names("vol-b"), ["cache-1.chk"]);
    assert.throws(() => Deno.statSync(`${home}/vol-c`), Deno.errors.NotFound);
    assert.deepEqual([left.any, left.bytes], [true, 3 * cacheFileBytes]);

    await left.shrink(3);
    assert.equal(left.bytes, 3 * cacheFileBytes);
    // It was used again in between: the other one has been left longer.
    left.taken("vol-a");
    assert.equal(left.bytes, cacheFileBytes);
    await left.leave("vol-a");
    await left.shrink(2);
    assert.deepEqual([names("vol-a").length, names("vol-b")], [2, []]);

    // A mount that begins meanwhile loses nothing of what it makes.
    await Deno.writeTextFile(`${home}/vol-a/log-9.seg`, "");
    await left.shrink(0);
    assert.deepEqual(names("vol-a"), ["log-9.seg"]);
    assert.deepEqual([left.any, left.bytes], [false, 0]);
  } finally {
    await Deno.remove(home, { recursive: true });
  }
});
