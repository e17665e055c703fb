import assert from "node:assert/strict";
import { instanceRecord, testConfig } from "../../tests/kit/compute.ts";
import { seeded } from "../../tests/kit/random.ts";
import {
  alice,
  bob,
  type ResourceWorld,
  startResourceSide,
} from "../../tests/kit/resource_side.ts";
import { AwsError } from "../aws/errors.ts";
import { newId } from "../resources/ids.ts";
import { makeKey, openSshLine } from "./keys/ssh_keys.ts";
import { until } from "../../tests/kit/until.ts";
import { HostileInputs } from "../../tests/kit/hostile_inputs.ts";

/** Whether any account has the snapshot. */
const isKnown = ({ state }: ResourceWorld, id: string) =>
  [alice, bob].some((account) => state.snapshots.get(account, id) !== undefined);

/** Everything on record that no background work changes by itself. */
function onRecord({ state, instances }: ResourceWorld): string {
  const volumes = [...state.volumes.all()].filter((volume) =>
    volume.state === "available" ||
    (volume.state === "in-use" && volume.attachment?.status === "attached")
  );
  const entries = [...instances.all()].map((instance) => ({
    ...instance,
    attachments: instance.attachments.filter((one) => one.status === "attached"),
  }));
  return JSON.stringify([
    volumes,
    entries,
    [...state.images.all()],
    [...state.keyPairs.all()],
    [...state.snapshots.all()].filter((snapshot) => snapshot.state === "completed"),
  ]);
}

/** Whether work of an earlier call goes on that ends by itself, perhaps in the middle of the next one. */
const isMoving = ({ state }: ResourceWorld) =>
  [...state.volumes.all()].some((volume) =>
    volume.state === "creating" || volume.state === "deleting" ||
    volume.modification?.state === "modifying" ||
    (volume.attachment !== undefined && volume.attachment.status !== "attached")
  );

Deno.test("no input of the right shape leads to a fault of ours, and a refusal changes nothing", async () => {
  await using world = await startResourceSide();
  const { ask, instances, state, store } = world;
  const line = openSshLine((await makeKey("ed25519", "x")).public, "x");
  await seeded(async (random) => {
    const types = [state.volumes, state.snapshots, state.images, state.keyPairs, instances];
    const inputs = new HostileInputs(
      random,
      new TextEncoder().encode(line).toBase64(),
      (prefix) =>
        prefix.includes("port-")
          ? state.records.table.list().map(({ value }) => value.id)
            .filter((id) => id.startsWith(prefix))
          : types.filter(({ type }) => type.idPrefix === prefix).flatMap(({ table }) =>
            table.list().map(({ key }) => key.split(".")[1] ?? "")
          ),
    );
    // The first task never ends but by being cancelled, and is bob's: all others wait behind it.
    world.objects.before = (_what, signal) =>
      new Promise((_, reject) => signal.addEventListener("abort", () => reject(signal.reason)));
    const first = { UserBucket: { S3Bucket: "of-bob", S3Key: "disk" }, Format: "RAW" };
    for (const [bucket, owner] of [["bucket", alice], ["of-bob", bob]] as const) {
      world.objects.buckets.set(bucket, owner);
      world.objects.objects.set(`${bucket}/disk`, new Uint8Array(1 << 20));
    }
    await ask("ImportSnapshot", { DiskContainer: first }, bob);
    for (const account_id of [alice, bob]) {
      await instances.create(instanceRecord({ account_id }));
      const snapshot_id = newId("snap-");
      await state.snapshots.create({
        snapshot_id,
        account_id,
        size_gib: 1,
        state: "completed",
        start_time: new Date().toISOString(),
        tags: {},
      });
      store.snapshots.set(snapshot_id, { snapshot_id, size_bytes: 2 ** 30, stored_bytes: 0 });
      await ask("CreateVolume", { AvailabilityZone: testConfig.az, Size: 1 }, account_id);
    }
    const ofBob = JSON.stringify([...state.volumes.all(bob)]);
    const names = Object.keys(inputs.of) as (keyof typeof inputs.of)[];
    const outcomes = new Map<string, { done: number; refused: number }>();
    const isUndone = (name: string) => (outcomes.get(name)?.done ?? 0) === 0;
    // Long enough for many refusals, and until every action has been done as well.
    for (let round = 0; round < 1500 || names.some(isUndone); round++) {
      assert.ok(round < 20_000, `${names.filter(isUndone)} are never done`);
      // In the end half of the tries go to what is left: few images may be exported at a moment.
      const left = round < 1500 ? [] : names.filter(isUndone);
      const name = random.pick(left.length > 0 && random.below(2) === 0 ? left : names);
      const input = inputs.of[name]();
      const shown = `${name} ${JSON.stringify(input).slice(0, 600)}`;
      const outcome = outcomes.get(name) ?? { done: 0, refused: 0 };
      outcomes.set(name, outcome);
      const before = onRecord(world);
      try {
        const answer = await ask(name as "DescribeTags", input as never) as Record<string, unknown>;
        outcome.done++;
        const token = answer["NextToken"];
        if (typeof token === "string") inputs.tokens.push(token);
      } catch (error) {
        assert.ok(error instanceof AwsError, shown);
        assert.ok(error.status < 500, `${shown}: ${error.code} ${error.message}`);
        outcome.refused++;
        assert.equal(onRecord(world), before, `${shown}: refused with ${error.code}, and changed`);
      }
      // The content of an attached volume that is being copied is stored in a moment.
      for (const { snapshot_id, state: stored } of store.snapshots.values()) {
        if (stored === "pending" && !isKnown(world, snapshot_id)) {
          store.settle(snapshot_id, "completed");
        }
      }
      if (isMoving(world)) await until("the background work", () => !isMoving(world));
    }
    assert.equal(JSON.stringify([...state.volumes.all(bob)]), ofBob, "bob's volumes are untouched");
  });
});
