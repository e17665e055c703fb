/** kill -9 under load: every acknowledged write is there byte for byte, everything else old or new. */
import assert from "node:assert/strict";
import { ObjectStore } from "../../services/predastore/contract.ts";
import { bytesOf } from "../../services/predastore/test_store.ts";
import { startPredastore } from "../kit/predastore.ts";
import { testSeed } from "../kit/random.ts";

for (const [k, m] of [[1, 0], [2, 1]] as const) {
  Deno.test({
    name: `RS(${k},${m}): what was acknowledged survives kill -9 again and again`,
    // Connections to the killed process end when they like.
    sanitizeResources: false,
    sanitizeOps: false,
    fn: async () => {
      const seed = testSeed();
      console.log(`MULGA_TEST_SEED=${seed}`);
      await using test = await startPredastore({
        storage: (directory) => ({
          blobs: Array.from({ length: k + m }, (_, at) => `${directory}/blob${at}`),
          data_shards: k,
          parity_shards: m,
        }),
      });
      /** By key: the last acknowledged seed (0: deleted or never), and one whose fate is open. */
      const known = new Map<string, { sure: number; open: number | undefined }>();
      let number = seed % 1_000_000;
      const sizeOf = (of: number) => [3_000, 70_000, 1_500_000, 4 << 20, 16_384][of % 5] ?? 1;
      for (let round = 0; round < 4; round++) {
        {
          using store = new ObjectStore(test.node.paths.s3System, "mulga-blocks");
          let acknowledged = 0;
          let dying = false;
          const writers = Array.from({ length: 6 }, async (_, writer) => {
            for (let at = 0; !dying; at++) {
              const key = `w${writer}/k${at % 4}`;
              const before = known.get(key) ?? { sure: 0, open: undefined };
              const mine = ++number;
              const deletes = mine % 7 === 0;
              known.set(key, { sure: before.sure, open: deletes ? 0 : mine });
              try {
                if (deletes) await store.delete(key);
                else await store.put(key, bytesOf(mine, sizeOf(mine)));
              } catch {
                return;
              }
              known.set(key, { sure: deletes ? 0 : mine, open: undefined });
              acknowledged++;
            }
          });
          const limit = performance.now() + 60_000;
          while (acknowledged < 40 + 17 * round && performance.now() < limit) {
            await new Promise((next) => setTimeout(next, 1));
          }
          assert.ok(acknowledged >= 40);
          const killed = test.restart("SIGKILL");
          dying = true;
          await Promise.all(writers);
          await killed;
        }
        using store = new ObjectStore(test.node.paths.s3System, "mulga-blocks");
        for (const [key, { sure, open }] of known) {
          const found = await store.get(key);
          const matches = (of: number) =>
            of === 0
              ? found === undefined
              : found !== undefined && Buffer.compare(found, bytesOf(of, sizeOf(of))) === 0;
          const now = open !== undefined && matches(open) ? open : sure;
          assert.ok(
            matches(now),
            `${key} in round ${round}: ${
              found?.length ?? "no"
            } bytes, acknowledged ${sure}, open ${open}`,
          );
          known.set(key, { sure: now, open: undefined });
        }
        const listed: string[] = [];
        for await (const key of store.list("w")) listed.push(key);
        const expected = [...known].filter(([, { sure }]) => sure !== 0).map(([key]) => key).sort();
        assert.deepEqual(listed, expected);
      }
      // And once more from nothing but the segments.
      await test.process().stop("SIGKILL");
      for (const suffix of ["", "-wal", "-shm"]) {
        await Deno.remove(`${test.node.paths.service("predastore")}/index.db${suffix}`)
          .catch(() => {});
      }
      await test.restart("SIGKILL");
      using store = new ObjectStore(test.node.paths.s3System, "mulga-blocks");
      for (const [key, { sure }] of known) {
        const found = await store.get(key);
        if (sure === 0) assert.equal(found, undefined, key);
        else assert.ok(found && Buffer.compare(found, bytesOf(sure, sizeOf(sure))) === 0, key);
      }
    },
  });
}

Deno.test("predastore does not start with another key than the one that sealed its objects", async () => {
  await using test = await startPredastore();
  await test.process().stop();
  const key = await Deno.readTextFile(test.node.paths.objectKeys);
  const other = crypto.getRandomValues(new Uint8Array(32)).toBase64();
  await Deno.writeTextFile(test.node.paths.objectKeys, `${other}\n`);
  const refused = await test.node.start("predastore");
  assert.equal(await refused.ended, 1);
  assert.match(refused.log(), /is not the key that sealed/);
  // A rotation puts the new one first and keeps the old.
  await Deno.writeTextFile(test.node.paths.objectKeys, `${other}\n${key}`);
  await test.restart();
});
