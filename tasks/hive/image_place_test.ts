import assert from "node:assert/strict";
import { join } from "node:path";
import { pathsOf } from "../../services/config/node_config.ts";
import { exists } from "../init/write_file.ts";
import { openToCompute } from "./image_place.ts";

/** A data directory in which compute is that user, and a file that only its owner may read. */
async function dataDirectory(compute: number) {
  const root = await Deno.makeTempDir({ prefix: "mulga-image-place-" });
  const paths = pathsOf(join(root, "data"));
  await Deno.mkdir(paths.service("compute"), { recursive: true });
  if (compute !== Deno.uid()) await Deno.chown(paths.service("compute"), compute, compute);
  const file = join(root, "disk.raw");
  await Deno.writeTextFile(file, "a disk", { mode: 0o600 });
  return { paths, file, [Symbol.asyncDispose]: () => Deno.remove(root, { recursive: true }) };
}

Deno.test("where one user runs everything the file itself is imported", async () => {
  await using place = await dataDirectory(Deno.uid() ?? 0);
  await using opened = await openToCompute(place.file, place.paths);
  assert.equal(opened.path, place.file);
});

const nobody = 65_534;
// Another user's directory can only be made by root.
const ignore = Deno.uid() !== 0;

Deno.test({
  name: "where compute is another user it gets a copy that it alone can read, and that goes again",
  ignore,
  async fn() {
    await using place = await dataDirectory(nobody);
    const images = join(place.paths.root, "images");
    await Deno.mkdir(images);
    const [left, ofAnother] = [join(images, "import-999999999"), join(images, "import-1")];
    for (const path of [left, ofAnother]) await Deno.writeTextFile(path, "");
    let copy: string;
    {
      await using opened = await openToCompute(place.file, place.paths);
      copy = opened.path;
      assert.equal(await Deno.readTextFile(copy), "a disk");
      const { uid, gid, mode } = await Deno.stat(copy);
      assert.deepEqual([uid, gid, (mode ?? 0) & 0o777], [Deno.uid(), nobody, 0o640]);
      const directory = await Deno.stat(images);
      assert.deepEqual([directory.gid, (directory.mode ?? 0) & 0o7777], [nobody, 0o2750]);
      assert.ok(!await exists(left), "what a killed import left is gone");
      assert.ok(await exists(ofAnother), "what runs is left alone");
    }
    assert.ok(!await exists(copy));
    assert.equal(((await Deno.stat(place.file)).mode ?? 0) & 0o777, 0o600);
  },
});

Deno.test({
  name: "a file that lies in compute's reach already is not copied",
  ignore,
  async fn() {
    await using place = await dataDirectory(nobody);
    const images = join(place.paths.root, "images");
    await Deno.mkdir(images);
    const file = join(images, "disk.raw");
    await Deno.rename(place.file, file);
    {
      await using opened = await openToCompute(file, place.paths);
      assert.equal(opened.path, file);
    }
    assert.equal((await Deno.stat(file)).gid, nobody);
  },
});
