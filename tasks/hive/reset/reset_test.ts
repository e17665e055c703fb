import assert from "node:assert/strict";
import { join } from "node:path";
import { initNode } from "../../init/init.ts";
import { factoryReset, type ResetPlaces, resetSubject } from "./reset.ts";

const hive = new URL("../../hive.ts", import.meta.url).pathname;

async function runHive(...args: string[]) {
  const { code, stderr } = await new Deno.Command(Deno.execPath(), {
    args: ["run", "-A", "--no-check", hive, ...args],
    stdin: "null",
  }).output();
  return { code, said: new TextDecoder().decode(stderr) };
}

Deno.test("a reset never runs on a checkout, nor without being told what it is", async () => {
  const bare = await runHive("reset");
  assert.equal(bare.code, 2);
  assert.match(bare.said, /--factory/);
  const checkout = await runHive("reset", "--factory", "--yes");
  assert.equal(checkout.code, 1);
  assert.match(checkout.said, /not the MulgaOS image.*--purge/);
});

Deno.test("on the image a reset names its node, and says so when it cannot be begun", async () => {
  const directory = await Deno.makeTempDir();
  try {
    const dataDir = join(directory, "data");
    const places: ResetPlaces = {
      osRelease: join(directory, "os-release"),
      dataDir,
      start: ["touch", join(directory, "begun")],
    };
    await assert.rejects(resetSubject(places), /not the MulgaOS image/);
    await Deno.writeTextFile(places.osRelease, "IMAGE_ID=mulgaos\nIMAGE_VERSION=0.1.0\n");
    assert.equal(await resetSubject(places), "this box");
    const { config } = await initNode(dataDir, { ports: { auto: true } });
    assert.equal(await resetSubject(places), config.node_id);
    for (const start of [["false"], [join(directory, "no such program")]] as const) {
      await assert.rejects(factoryReset({ ...places, start }), /nothing was erased.*boot menu/);
    }
    await factoryReset(places);
    await Deno.stat(join(directory, "begun"));
  } finally {
    await Deno.remove(directory, { recursive: true });
  }
});
