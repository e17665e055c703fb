import assert from "node:assert/strict";
import { join } from "node:path";
import { hostArchitecture } from "../guest/debian_archive.ts";
import { foreignPrograms, registration, serves } from "./foreign.ts";

const debians = [
  "enabled",
  "interpreter /usr/libexec/qemu-binfmt/aarch64-binfmt-P",
  "flags: POF",
  "offset 0",
  "magic 7f454c460201010000000000000000000200b700",
  "mask ffffffffffffff00fffffffffffffffffeffffff",
].join("\n");

Deno.test("Debian's own registration serves, and one that is off or bound to a path does not", () => {
  assert.ok(serves(debians, "arm64"));
  assert.ok(!serves(debians, "x86_64"));
  assert.ok(!serves(debians.replace("enabled", "disabled"), "arm64"));
  assert.ok(!serves(debians.replace("POF", "PO"), "arm64"));
});

Deno.test("the registration's line is what the kernel reads", () => {
  const line = registration("mulga-arm64", "arm64", "/usr/bin/qemu-aarch64");
  assert.ok(line.startsWith(":mulga-arm64:M::\\x7f\\x45\\x4c\\x46\\x02"));
  assert.ok(line.endsWith("\\xff:/usr/bin/qemu-aarch64:OPF"));
  // The kernel takes no line longer than this.
  assert.ok(line.length < 1920);
});

/** Whether the kernel has the entry, seen through a mount of its own. */
async function registered(name: string): Promise<boolean> {
  const directory = await Deno.makeTempDir({ prefix: "mulga-test-binfmt-" });
  const run = (program: string, ...args: string[]) => new Deno.Command(program, { args }).output();
  await run("mount", "-t", "binfmt_misc", "binfmt_misc", directory);
  const there = await Deno.stat(join(directory, name)).then(() => true, () => false);
  await run("umount", directory);
  await Deno.remove(directory);
  return there;
}

const runnable = Deno.uid() === 0 && hostArchitecture() === "x86_64" &&
  await Deno.stat("/usr/bin/qemu-aarch64").then(() => true, () => false);

Deno.test({
  name: "programs of another architecture are registered while any build runs, and never after",
  ignore: !runnable,
  fn: async () => {
    const directory = await Deno.makeTempDir({ prefix: "mulga-test-lock-" });
    try {
      const options = { lockDirectory: directory };
      const first = await foreignPrograms("arm64", options);
      const second = await foreignPrograms("arm64", options);
      assert.ok(await registered("mulga-arm64"));
      await first[Symbol.asyncDispose]();
      assert.ok(await registered("mulga-arm64"), "the second build still runs");
      await second[Symbol.asyncDispose]();
      assert.ok(!await registered("mulga-arm64"));
    } finally {
      await Deno.remove(directory, { recursive: true });
    }
  },
});
