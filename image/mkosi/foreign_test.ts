import assert from "node:assert/strict";
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

/** Our entries that the kernel has, seen through a mount of its own. */
async function entries(): Promise<Set<string>> {
  const directory = await Deno.makeTempDir({ prefix: "mulga-test-binfmt-" });
  const run = (program: string, ...args: string[]) => new Deno.Command(program, { args }).output();
  await run("mount", "-t", "binfmt_misc", "binfmt_misc", directory);
  const names = (await Array.fromAsync(Deno.readDir(directory))).map(({ name }) => name);
  await run("umount", directory);
  await Deno.remove(directory);
  return new Set(names.filter((name) => name.startsWith(`mulga-${Deno.pid}-`)));
}

const runnable = Deno.uid() === 0 && hostArchitecture() === "x86_64" &&
  await Deno.stat("/usr/bin/qemu-aarch64").then(() => true, () => false);

Deno.test({
  name: "each use has an entry of its own, which ends with it and with no other",
  ignore: !runnable,
  fn: async () => {
    const first = await foreignPrograms("arm64");
    const [one] = await entries();
    // The system itself may serve such programs; then there is nothing to register.
    if (one === undefined) return;
    const second = await foreignPrograms("arm64");
    assert.equal((await entries()).size, 2);
    await second[Symbol.asyncDispose]();
    assert.deepEqual([...await entries()], [one], "the first use still needs its own");
    await first[Symbol.asyncDispose]();
    assert.equal((await entries()).size, 0);
  },
});
