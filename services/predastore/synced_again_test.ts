/** What a directory failed to make durable and can still be read there is durable before anybody counts on it. */
import assert from "node:assert/strict";
import { randomFrom } from "./disk/simulated_disk.ts";
import { Machine } from "./simulation/machine.ts";
import { removeIndex, Store, type StoreOptions } from "./store.ts";
import { Fsck } from "./upkeep/fsck.ts";
import { bodyOf, bytesOf, contentOf, quiet, same } from "./test_store.ts";

const paths = ["/blob0", "/blob1"];

/** A store of RS(1,1) on a machine that can lose its power. */
async function onMachine() {
  const folder = await Deno.makeTempDir({ prefix: "mulga-synced-" });
  let machine = new Machine(randomFrom(1));
  for (const path of paths) machine.mount(path);
  const open = () =>
    Store.open(
      {
        index: `${folder}/index.db`,
        disk: machine,
        blobs: paths,
        data_shards: 1,
        parity_shards: 1,
        reserve_bytes: 0,
        log: quiet,
        repair_bytes_per_second: Infinity,
      } satisfies StoreOptions,
    );
  const test = {
    get machine() {
      return machine;
    },
    store: await open(),
    /** All that was not synced is lost, and the index too; then something is done to what is left. */
    async powerCut(then: (machine: Machine) => void) {
      machine.crash();
      await test.store[Symbol.asyncDispose]().catch(() => {});
      await removeIndex(`${folder}/index.db`);
      machine = machine.afterCrash("nothing");
      then(machine);
      test.store = await open();
    },
    /** It ends as by kill -9, and what was written stays. */
    async kill() {
      await test.store[Symbol.asyncDispose]();
      test.store = await open();
    },
    async [Symbol.asyncDispose]() {
      await test.store[Symbol.asyncDispose]();
      await Deno.remove(folder, { recursive: true });
    },
  };
  return test;
}

for (const away of [false, true]) {
  Deno.test(`RS(1,1): what a directory failed to sync survives a power cut when it counts as sound${away ? ", also where the store was opened without it in between" : ""}`, async () => {
    await using test = await onMachine();
    const { bucket } = await test.store.buckets.create("bucket", "123456789012", "r");
    test.machine.fail("/blob1", { calls: "sync", code: "EIO", done: () => false });
    await test.store.objects.put(bucket, "k", bodyOf(bytesOf(1, 100_000)));
    assert.equal(test.store.directories.online.length, 1);
    if (away) {
      test.machine.fail("/blob1", { calls: "both", code: "EIO", done: () => false });
      await test.kill();
      assert.equal(test.store.directories.online.length, 1);
      await test.store.objects.put(bucket, "other", bodyOf(bytesOf(2, 100)));
    }
    test.machine.fail("/blob1", undefined);
    await test.store.directories.inspect();
    await test.store.repair.run();
    const report = await new Fsck(test.store).run(new AbortController().signal);
    assert.deepEqual(report.findings, []);
    await test.powerCut((machine) => machine.pull("/blob0", "nothing"));
    same(await contentOf(test.store, test.store.objects.find(bucket, "k")), bytesOf(1, 100_000));
  });
}
