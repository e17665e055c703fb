import assert from "node:assert/strict";
import { testConfig } from "../../../tests/kit/compute.ts";
import { testLog } from "../../../tests/kit/nats.ts";
import { alice, bob, startResourceSide } from "../../../tests/kit/resource_side.ts";
import { until } from "../../../tests/kit/until.ts";
import { newId } from "../../resources/ids.ts";
import { FastRestoreKeeper } from "./fast_restores.ts";

const az = testConfig.az;

Deno.test("fast snapshot restores", async (t) => {
  await using world = await startResourceSide();
  const { ask, store } = world;
  const snapshot = async (account = alice) => {
    const { VolumeId = "" } = await ask("CreateVolume", { AvailabilityZone: az, Size: 1 }, account);
    const { SnapshotId = "" } = await ask("CreateSnapshot", { VolumeId }, account);
    await until("the snapshot", () => {
      return world.state.snapshots.get(account, SnapshotId)?.state === "completed";
    });
    return SnapshotId;
  };
  const enable = (ids: string[], account = alice, zones = [az]) =>
    ask(
      "EnableFastSnapshotRestores",
      { SourceSnapshotIds: ids, AvailabilityZones: zones },
      account,
    );
  const disable = (ids: string[], account = alice) =>
    ask(
      "DisableFastSnapshotRestores",
      { SourceSnapshotIds: ids, AvailabilityZones: [az] },
      account,
    );
  const shown = async (id: string, account = alice) =>
    (await ask("DescribeFastSnapshotRestores", {
      Filters: [{ Name: "snapshot-id", Values: [id] }],
    }, account)).FastSnapshotRestores ?? [];
  const reaches = (id: string, state: string, account = alice) =>
    until(`${id} is ${state}`, async () => {
      const [one] = await shown(id, account);
      return one?.State === state ? one : undefined;
    });

  await t.step("one goes through its states as the block store says", async () => {
    const id = await snapshot();
    store.restoresBegin = "coming";
    const { Successful, Unsuccessful } = await enable([id]);
    assert.deepEqual(Unsuccessful, []);
    assert.equal(Successful?.[0]?.State, "enabling");
    assert.equal(Successful?.[0]?.AvailabilityZone, az);
    assert.equal(Successful?.[0]?.OwnerId, alice);
    assert.equal(Successful?.[0]?.StateTransitionReason, "Client.UserInitiated");
    await reaches(id, "optimizing");
    const volume = { AvailabilityZone: az, SnapshotId: id };
    assert.equal((await ask("CreateVolume", volume)).FastRestored, undefined);
    store.waits_for = "disk_space";
    await until(
      "the reason",
      async () =>
        (await shown(id))[0]?.StateTransitionReason === "Server.InsufficientVolumeCapacity",
    );
    store.waits_for = undefined;
    store.restores.set(id, "ready");
    const enabled = await reaches(id, "enabled");
    for (const time of ["EnablingTime", "OptimizingTime", "EnabledTime"] as const) {
      assert.ok(!Number.isNaN(Date.parse(String(enabled[time]))), time);
    }
    const fast = await ask("CreateVolume", volume);
    assert.equal(fast.FastRestored, true);
    const { Volumes } = await ask("DescribeVolumes", {
      Filters: [{ Name: "fast-restored", Values: ["true"] }],
    });
    assert.deepEqual(Volumes?.map(({ VolumeId }) => VolumeId), [fast.VolumeId]);
    // Once more is no error, and begins nothing.
    assert.equal((await enable([id])).Successful?.[0]?.State, "enabled");
    // The disk gave its content up.
    store.restores.set(id, "coming");
    world.side.fastRestores.sweep();
    await reaches(id, "optimizing");
    store.restores.set(id, "ready");
    await reaches(id, "enabled");
    assert.equal((await disable([id])).Successful?.[0]?.State, "disabling");
    const disabled = await reaches(id, "disabled");
    assert.ok(disabled.DisabledTime !== undefined);
    assert.equal(store.restores.has(id), false);
    store.restoresBegin = "ready";
    await enable([id]);
    await reaches(id, "enabled");
    assert.equal((await shown(id)).length, 1);
    await disable([id]);
    await reaches(id, "disabled");
  });

  await t.step(
    "what cannot be done is told for each snapshot and zone, the rest is done",
    async () => {
      const [good, foreign, missing] = [await snapshot(), await snapshot(bob), newId("snap-")];
      const { Successful, Unsuccessful } = await enable([good, foreign, missing], alice, [
        az,
        "ap-southeast-2q",
      ]);
      assert.deepEqual(Successful?.map(({ SnapshotId }) => SnapshotId), [good]);
      const errors = (Unsuccessful ?? []).map(({ SnapshotId, FastSnapshotRestoreStateErrors }) => [
        SnapshotId,
        FastSnapshotRestoreStateErrors?.map(({ AvailabilityZone, Error }) => [
          AvailabilityZone,
          Error?.Code,
        ]),
      ]);
      const noZone = ["ap-southeast-2q", "InvalidZone.NotFound"];
      assert.deepEqual(errors, [
        [good, [noZone]],
        [foreign, [[az, "InvalidSnapshot.NotFound"], noZone]],
        [missing, [[az, "InvalidSnapshot.NotFound"], noZone]],
      ]);
      await reaches(good, "enabled");
      assert.equal(store.restores.has(foreign), false);
      const codes = async (ids: string[]) =>
        (await disable(ids)).Unsuccessful?.map((one) =>
          one.FastSnapshotRestoreStateErrors?.[0]?.Error?.Code
        );
      const other = await snapshot();
      assert.deepEqual(await codes([other, missing]), [
        "IncorrectState",
        "InvalidSnapshot.NotFound",
      ]);
      const refused = (code: string, input: object) =>
        assert.rejects(
          ask("EnableFastSnapshotRestores", {
            SourceSnapshotIds: [good],
            AvailabilityZones: [az],
            ...input,
          }),
          { code },
        );
      await refused("InvalidSnapshotID.Malformed", { SourceSnapshotIds: ["snap-zz"] });
      await refused("MissingParameter", { SourceSnapshotIds: [] });
      await refused("MissingParameter", { AvailabilityZones: [] });
      await refused("InvalidParameterCombination", { AvailabilityZoneIds: ["apse2-az1"] });
      await refused("DryRunOperation", { SourceSnapshotIds: [other], DryRun: true });
      assert.deepEqual(await shown(other), []);
      const byZoneId = await ask("EnableFastSnapshotRestores", {
        SourceSnapshotIds: [other],
        AvailabilityZoneIds: ["apse2-az1"],
      });
      assert.equal(byZoneId.Successful?.[0]?.AvailabilityZone, az);
      await disable([good, other]);
      await reaches(other, "disabled");
      await reaches(good, "disabled");
    },
  );

  await t.step("an account has five at most, and pages through them", async () => {
    const ids: string[] = [];
    for (let i = 0; i < 6; i++) ids.push(await snapshot());
    const { Successful, Unsuccessful } = await enable(ids);
    assert.equal(Successful?.length, 5);
    assert.deepEqual(
      Unsuccessful?.map((one) => one.FastSnapshotRestoreStateErrors?.[0]?.Error?.Code),
      ["FastSnapshotRestoreLimitExceeded"],
    );
    for (const id of ids.slice(0, 5)) await reaches(id, "enabled");
    const seen: string[] = [];
    let NextToken: string | undefined;
    do {
      const page = await ask("DescribeFastSnapshotRestores", {
        MaxResults: 2,
        Filters: [{ Name: "state", Values: ["enabled"] }],
        ...(NextToken === undefined ? {} : { NextToken }),
      });
      seen.push(...(page.FastSnapshotRestores ?? []).map(({ SnapshotId }) => SnapshotId ?? ""));
      NextToken = page.NextToken;
    } while (NextToken !== undefined);
    assert.deepEqual(seen.sort(), ids.slice(0, 5).sort());
    assert.deepEqual(
      (await ask("DescribeFastSnapshotRestores", {}, bob)).FastSnapshotRestores,
      [],
    );
    await assert.rejects(
      ask("DescribeFastSnapshotRestores", { Filters: [{ Name: "colour", Values: ["red"] }] }),
      { code: "InvalidParameterValue" },
    );
    await disable(ids.slice(0, 5));
    for (const id of ids.slice(0, 5)) await reaches(id, "disabled");
  });

  await t.step("a restore ends with its snapshot, and with the sharing of it", async () => {
    const gone = await snapshot();
    await enable([gone]);
    await reaches(gone, "enabled");
    await ask("DeleteSnapshot", { SnapshotId: gone });
    world.side.fastRestores.sweep();
    await reaches(gone, "disabled");

    const shared = await snapshot(bob);
    const permission = (OperationType: "add" | "remove") =>
      ask("ModifySnapshotAttribute", {
        SnapshotId: shared,
        Attribute: "createVolumePermission",
        OperationType,
        UserIds: [alice],
      }, bob);
    await permission("add");
    await enable([shared]);
    await reaches(shared, "enabled");
    await enable([shared], bob);
    await reaches(shared, "enabled", bob);
    await permission("remove");
    world.side.fastRestores.sweep();
    await reaches(shared, "disabled");
    // Its owner wants it still.
    assert.equal(store.restores.get(shared), "ready");
    await disable([shared], bob);
    await reaches(shared, "disabled", bob);
    assert.equal(store.restores.has(shared), false);
  });

  await t.step("what a crash left is taken up by the next run", async () => {
    const id = await snapshot();
    await world.side.fastRestores.stop();
    await enable([id]);
    assert.equal((await shown(id))[0]?.State, "enabling");
    const next = new FastRestoreKeeper(world.side.fastRestores.bus, testLog, world.state);
    next.start();
    await reaches(id, "enabled");
    await next.stop();
    await disable([id]);
    const last = new FastRestoreKeeper(world.side.fastRestores.bus, testLog, world.state);
    last.start();
    await reaches(id, "disabled");
    await last.stop();
    assert.equal(store.restores.has(id), false);
  });
});
