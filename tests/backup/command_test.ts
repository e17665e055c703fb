/** How the commands speak when they are misunderstood. */
import assert from "node:assert/strict";
import { join } from "node:path";
import { seal } from "../../tasks/hive/backup/seal.ts";
import { run } from "../kit/stack.ts";

const hive = (dataDir: string, ...args: string[]) => [
  Deno.execPath(),
  "run",
  "-A",
  "tasks/hive.ts",
  ...args,
  "--data-dir",
  dataDir,
];

Deno.test("what the commands do not understand is one sentence", async () => {
  const directory = await Deno.makeTempDir({ prefix: "mulga-operator-" });
  try {
    const sealed = join(directory, "sealed");
    const lock = { kind: "passphrase", passphrase: "a passphrase of the test" } as const;
    await Deno.writeFile(sealed, ReadableStream.from(seal(ReadableStream.from([]), lock)));
    for (
      const [args, code, words] of [
        [["backup"], 1, /no node|Where to/],
        [["backup", "x", "y"], 2, /not expected/],
        [["restore"], 2, /missing/],
        [["restore", sealed], 2, /^It opens with a passphrase, .*: say --passphrase-file FILE\.$/m],
        [["restore", join(directory, "none"), "--passphrase-file", "/none"], 1, /cannot be read/],
        [["backup", "--help"], 0, /^/],
      ] as const
    ) {
      const ran = await run(hive(join(directory, "data"), ...args));
      assert.ok(ran.code === code || (code === 1 && ran.code === 2), `${args}: ${ran.code}`);
      assert.match(ran.stderr, words);
      assert.doesNotMatch(ran.stderr, /fault of MulgaOS/);
    }
  } finally {
    await Deno.remove(directory, { recursive: true });
  }
});
