import assert from "node:assert/strict";
import { instanceRecord, testConfig } from "../../../tests/kit/compute.ts";
import { alice, bob, startResourceSide } from "../../../tests/kit/resource_side.ts";
import { reportOf } from "../../../tasks/hive/usage/command.ts";
import { usageBy } from "./usage.ts";

Deno.test("usage is told by account and tag, as the records have it now", async () => {
  await using world = await startResourceSide();
  const { ask, instances, state } = world;
  const tagged = (ResourceType: "volume" | "snapshot", Value: string) => [{
    ResourceType,
    Tags: [{ Key: "team", Value }],
  }];
  const make = async (Size: number, account: string, team?: string) =>
    (await ask("CreateVolume", {
      AvailabilityZone: testConfig.az,
      Size,
      ...(team === undefined ? {} : { TagSpecifications: tagged("volume", team) }),
    }, account)).VolumeId ?? "";
  const first = await make(3, alice, "blue");
  await make(4, alice, "blue");
  await make(5, alice);
  await make(7, bob, "blue");
  await ask("CreateSnapshot", { VolumeId: first, TagSpecifications: tagged("snapshot", "red") });
  const [snapshot] = [...state.snapshots.all(alice)];
  const now_ms = Date.now() + 10 * 3_600_000;
  await instances.create(
    instanceRecord({
      account_id: alice,
      state: "running",
      launch_time: new Date(now_ms - 2 * 3_600_000).toISOString(),
      tags: { team: "blue" },
    }),
  );
  await instances.create(
    instanceRecord({ account_id: alice, state: "stopped", tags: { team: "blue" } }),
  );
  const rows = usageBy("team", {
    state,
    instances,
    stored_bytes: new Map([[snapshot?.snapshot_id ?? "", 4096]]),
    now_ms,
  });
  const of = (account: string, value?: string) =>
    rows.find((row) => row.account_id === account && row.value === value);
  assert.deepEqual(rows.map(({ account_id, value }) => [account_id, value]), [
    [alice, "blue"],
    [alice, "red"],
    [alice, undefined],
    [bob, "blue"],
  ]);
  assert.deepEqual([of(alice, "blue")?.volumes, of(alice, "blue")?.volume_gib], [2, 7]);
  assert.ok(Math.abs((of(alice, "blue")?.volume_gib_hours ?? 0) - 70) < 1);
  assert.deepEqual([of(alice, "blue")?.instances, of(alice, "blue")?.instance_hours], [1, 2]);
  assert.deepEqual([of(alice, "red")?.snapshots, of(alice, "red")?.snapshot_bytes], [1, 4096]);
  assert.deepEqual([of(alice)?.volume_gib, of(bob, "blue")?.volume_gib], [5, 7]);

  const report = reportOf("team", rows, [
    { account_id: alice, bucket: "a", bytes: 10, tags: { team: "red" } },
    { account_id: bob, bucket: "b", bytes: 20, tags: {} },
  ]);
  assert.deepEqual(report.map((row) => [row.account_id, row.value, row.s3_bytes]), [
    [alice, "blue", 0],
    [alice, "red", 10],
    [alice, undefined, 0],
    [bob, "blue", 0],
    [bob, undefined, 20],
  ]);
});
