/** Files that are no seed, or almost one: whatever lies there, the box starts and says what to mend. */
import assert from "node:assert/strict";
import { join } from "node:path";
import { exists } from "../../init/write_file.ts";
import { type ApplianceTree, applianceTree } from "./appliance_tree.ts";

const notice = async (one: ApplianceTree): Promise<string> =>
  JSON.parse(await Deno.readTextFile(one.files.notice)).text;

const admin = `admin:
  access_key_id: AKIAGIVENGIVENGIVEN2
  secret_access_key: 0123456789/0123456789+0123456789/0123456
`;

async function run(program: string, ...args: string[]): Promise<void> {
  const { success, stderr } = await new Deno.Command(program, { args, stdout: "null" }).output();
  assert.ok(success, new TextDecoder().decode(stderr));
}

Deno.test("a node whose seed was edited into nonsense starts, says so, and leaves the file alone", async () => {
  await using one = await applianceTree();
  await one.put("boot/mulga.yaml", "version: 1\n");
  assert.equal((await one.boot()).state, "made");
  const edited = new Map<string, RegExp>([
    [`version: 1\n${admin}region: [\n`, /not valid YAML/],
    [`version: 1\n${admin}${admin}`, /"admin" stands in the seed twice/],
    [`version: 1\nadmin: &key [1]\nregion: *key\n`, /"admin" must hold settings/],
    [`version: 1\n${admin}# ${"x".repeat(70_000)}\nhostname: last\n`, /at most 65536/],
  ]);
  for (const [text, words] of edited) {
    await one.put("boot/mulga.yaml", text);
    assert.equal((await one.boot()).state, "completed", text.slice(0, 80));
    assert.match(await notice(one), words);
    assert.equal(await one.read("boot/mulga.yaml"), text, "as its writer left it");
  }
});

Deno.test("a seed that was edited on Windows is read, loses its secrets and is still a seed", async () => {
  await using one = await applianceTree();
  const text = `\ufeffversion: 1\nhostname: node1 # ours\n${admin}`.replaceAll("\n", "\r\n");
  await one.put("boot/mulga.yaml", text);
  assert.equal((await one.boot()).state, "made");
  const left = await one.read("boot/mulga.yaml");
  assert.doesNotMatch(left, /secret_access_key/);
  assert.match(left, /^hostname: node1 # ours$/m);
  assert.equal((await one.boot()).state, "completed");
  assert.deepEqual(one.said, []);
});

Deno.test("what is called like a seed and is no file holds nothing up and is said", async () => {
  await using one = await applianceTree();
  const path = join(one.root, "run/media/CIDATA/mulga.yaml");
  await Deno.mkdir(join(path, ".."), { recursive: true });
  for (
    const make of [
      () => run("mkfifo", path),
      () => Deno.symlink("/proc/kmsg", path),
      () => Deno.mkdir(path),
    ]
  ) {
    await make();
    assert.equal((await one.boot()).state, "unclaimed");
    assert.match(await notice(one), /^mulga\.yaml on the medium CIDATA is no plain file/);
    await Deno.remove(path);
  }
});

Deno.test("a seed under almost the right name is told, while the box waits for one", async () => {
  await using one = await applianceTree();
  for (const name of ["mulga.yaml.txt", "mulga.yml", "Mulga.YAML"]) {
    await one.put(`boot/${name}`, "version: 1\n");
    assert.equal((await one.boot()).state, "unclaimed");
    assert.equal(
      await notice(one),
      `${name} on the boot partition is not read: a seed is called mulga.yaml. Rename it, and ` +
        `restart the box.`,
    );
    await Deno.remove(join(one.root, "boot", name));
  }
  await one.put("run/media/cidata/user-data.txt", "#mulga\nversion: 1\n");
  await one.boot();
  assert.match(await notice(one), /^user-data\.txt on the medium cidata .* called user-data\./);
  // Beside one that is read it is nobody's business.
  await one.put("boot/mulga.yaml", "version: 1\n");
  await one.put("boot/mulga.yml", "version: 1\n");
  assert.equal((await one.boot()).state, "made");
  assert.ok(!await exists(one.files.notice));
});

Deno.test(
  "a node on a data partition without a single free byte is completed and starts",
  { ignore: Deno.uid() !== 0 },
  async () => {
    const at = await Deno.makeTempDir({ prefix: "mulga-full-" });
    await run("mount", "-t", "tmpfs", "-o", "size=8m", "tmpfs", at);
    try {
      await using one = await applianceTree(join(at, "mulga"));
      await one.put("boot/mulga.yaml", "version: 1\n");
      assert.equal((await one.boot()).state, "made");
      using file = await Deno.open(join(at, "filler"), { write: true, create: true });
      const fill = async () => {
        for (;;) await file.write(new Uint8Array(4_096));
      };
      await assert.rejects(fill(), /No space left/);
      assert.equal((await one.boot()).state, "completed");
      assert.deepEqual(one.said, []);
      // What is new cannot be kept: that is said, and the node is the one that it was.
      await one.put("boot/mulga.yaml", "version: 1\nhostname: other\n");
      assert.equal((await one.boot()).state, "completed");
      assert.match(one.said.join(" "), /could not be written, since .* full; .* Make room/);
    } finally {
      await run("umount", at);
      await Deno.remove(at);
    }
  },
);
