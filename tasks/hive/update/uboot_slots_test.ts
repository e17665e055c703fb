import assert from "node:assert/strict";
import { join } from "node:path";
import { forgetTrial, keep, readBootState } from "../uboot/boot_choice.ts";
import { mountedPartition } from "../uboot/boot_partition.ts";
import type { Release } from "./release.ts";
import type { InstalledVersion, Slots } from "./slots.ts";
import { UBootSlots } from "./uboot_slots.ts";

const never = { signal: new AbortController().signal, progress: () => {} };
const release = (version: string): Release => ({
  version,
  architecture: "arm64",
  parts: [],
  formats: undefined,
});

/** A boot partition in a folder, and slots of which only the kernel images are real. */
async function board(running: string) {
  const root = await Deno.makeTempDir({ prefix: "mulga-test-boot-" });
  const folder = join(root, "EFI/Linux");
  await Deno.mkdir(folder, { recursive: true });
  await Deno.writeTextFile(join(folder, `mulgaos_${running}.efi`), running);
  const partition = mountedPartition(root);
  let breaks = false;
  const inner: Slots = {
    current: () => Promise.resolve(running),
    async list() {
      const found: InstalledVersion[] = [];
      for (const file of await partition.list("EFI/Linux")) {
        const version = /_([^+]+?)(\+.*)?\.efi$/.exec(file)?.[1] ?? "";
        found.push({ version, running: version === running, state: "good" });
      }
      return found;
    },
    capacity: () => Promise.resolve(1),
    requireBootSpace: () => Promise.resolve(),
    async install({ version }) {
      // What starts from here on must be settled before the new kernel image appears.
      assert.equal((await readBootState(partition, running)).good, running);
      await Deno.writeTextFile(join(folder, `mulgaos_${version}+3-0.efi`), version);
      if (breaks) throw new Error("the disk is full");
    },
    async remove(version) {
      for (const file of await partition.list("EFI/Linux")) {
        if (file.startsWith(`mulgaos_${version}`)) await Deno.remove(join(folder, file));
      }
    },
    reboot: () => Promise.resolve(),
  };
  return {
    slots: new UBootSlots(inner, () => Promise.resolve(partition)),
    partition,
    failing: () => breaks = true,
    [Symbol.asyncDispose]: () => Deno.remove(root, { recursive: true }),
  };
}

Deno.test("an installed version is tried at the next start, and the running one after that", async () => {
  await using made = await board("1.0");
  await made.slots.install(release("1.1"), "/nowhere", never);
  assert.deepEqual(await readBootState(made.partition, "1.0"), {
    good: "1.0",
    next: "1.1",
    unproven: ["1.1"],
    onTrial: false,
  });
  assert.deepEqual((await made.slots.list()).map(({ version, state }) => [version, state]), [
    ["1.0", "good"],
    ["1.1", "trying"],
  ]);
});

Deno.test("a version that was tried and not kept is shown as failed, one that was kept as good", async () => {
  await using made = await board("1.0");
  await made.slots.install(release("1.1"), "/nowhere", never);
  // U-Boot takes the attempt away when it makes it.
  await forgetTrial(made.partition);
  const state = async () =>
    (await made.slots.list()).find(({ version }) => version === "1.1")?.state;
  assert.equal(await state(), "failed");
  await keep(made.partition, "1.1");
  assert.equal(await state(), "good");
});

Deno.test("an installation that breaks off, and a version that is removed, are not tried", async () => {
  await using made = await board("1.0");
  made.failing();
  await assert.rejects(made.slots.install(release("1.1"), "/nowhere", never), /disk is full/);
  assert.equal((await readBootState(made.partition, "1.0")).next, undefined);
  await using other = await board("1.0");
  await other.slots.install(release("1.1"), "/nowhere", never);
  await other.slots.remove("1.1");
  const state = await readBootState(other.partition, "1.0");
  assert.deepEqual(state, { good: "1.0", next: undefined, unproven: [], onTrial: false });
});
