import assert from "node:assert/strict";
import { basename, join } from "node:path";
import { prepareDataDisk } from "./data_disk.ts";
import { System } from "./system.ts";

Deno.test("a data disk gets objects and the volumes' logs: units that systemd accepts by their names", async () => {
  const root = await Deno.makeTempDir({ prefix: "mulga-data-disk-" });
  try {
    await prepareDataDisk({}, new System(root, () => {}));
    const units = join(root, "etc/systemd/system");
    const written: string[] = [];
    for await (const { name, isFile } of Deno.readDir(units)) if (isFile) written.push(name);
    assert.deepEqual(written.sort(), ["mnt.mount", "var-lib-mulga-viperblock.mount"]);
    for (const name of written) {
      const where = /^Where=(.*)$/m.exec(await Deno.readTextFile(join(units, name)))?.[1] ?? "";
      const { stdout } = await new Deno.Command("systemd-escape", {
        args: ["--path", "--suffix=mount", where],
      }).output();
      assert.equal(new TextDecoder().decode(stdout).trim(), name);
      const link = join(units, "local-fs.target.wants", name);
      assert.equal(basename(await Deno.readLink(link)), name);
    }
    // Without its logs the block engine would serve what volumes held before.
    const needs = join(units, "mulga-viperblock.service.d/50-data-disk.conf");
    assert.match(
      await Deno.readTextFile(needs),
      /^RequiresMountsFor=\/var\/lib\/mulga\/viperblock$/m,
    );
  } finally {
    await Deno.remove(root, { recursive: true });
  }
});
