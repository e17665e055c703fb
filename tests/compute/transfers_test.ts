/** Import and export tasks between crashes, cancellations and buckets that come and go. */
import assert from "node:assert/strict";
import { AwsError, unavailable } from "../../services/aws/errors.ts";
import { TransferKeeper } from "../../services/compute/transfers/transfer_keeper.ts";
import {
  exportImageTask,
  importImageTask,
} from "../../services/compute/transfers/transfer_tasks.ts";
import { newId } from "../../services/resources/ids.ts";
import { testConfig } from "../kit/compute.ts";
import { testLog } from "../kit/nats.ts";
import { alice, bob, type ResourceWorld, startResourceSide } from "../kit/resource_side.ts";
import { until } from "../kit/until.ts";

const DiskContainer = { Format: "raw", UserBucket: { S3Bucket: "disks", S3Key: "one.raw" } };

function fill({ objects }: ResourceWorld): void {
  objects.buckets.set("disks", alice);
  objects.objects.set("disks/one.raw", new Uint8Array(1 << 20));
  objects.objects.set("disks/empty.raw", new Uint8Array());
}

async function snapshotIn({ ask }: ResourceWorld): Promise<string> {
  const { VolumeId = "" } = await ask("CreateVolume", {
    AvailabilityZone: testConfig.az,
    Size: 1,
  });
  const { SnapshotId = "" } = await ask("CreateSnapshot", { VolumeId });
  return SnapshotId;
}

/** Downloads that wait to be let go, or cancelled. */
function held({ objects }: ResourceWorld) {
  const gate = Promise.withResolvers<void>();
  const begun = Promise.withResolvers<void>();
  objects.before = (_what, signal) => {
    begun.resolve();
    return Promise.race([
      gate.promise,
      new Promise<void>((_, reject) =>
        signal.addEventListener("abort", () => reject(signal.reason))
      ),
    ]);
  };
  return { begun: begun.promise, letGo: gate.resolve };
}

const nothing = ({ state, store }: ResourceWorld) =>
  assert.deepEqual(
    [[...state.snapshots.all()].length, [...state.images.all()].length, store.volumes.size],
    [0, 0, 0],
  );

Deno.test("tasks are refused, cancelled, waited for and begun anew, and leave nothing half done", async (t) => {
  await using world = await startResourceSide();
  const { ask, store } = world;
  fill(world);
  const statusOf = async (id: string | undefined) =>
    (await ask("DescribeImportSnapshotTasks", { ImportTaskIds: [id ?? ""] }))
      .ImportSnapshotTasks?.[0]?.SnapshotTaskDetail;
  const reaches = (id: string | undefined, status: string) =>
    until(`${id} ${status}`, async () => (await statusOf(id))?.Status === status);

  await t.step("what the caller may not read, or is no disk, is refused at once", async () => {
    const refused = async (code: string, input: object, account = alice) =>
      await assert.rejects(ask("ImportSnapshot", { DiskContainer, ...input }, account), { code });
    await refused("InvalidParameter", {}, bob);
    const place = (S3Key: string, Format = "raw") => ({
      DiskContainer: { Format, UserBucket: { S3Bucket: "disks", S3Key } },
    });
    await refused("InvalidParameter", place("none"));
    await refused("InvalidParameterValue", place("one.raw", "iso"));
    await refused("InvalidParameterValue", { DiskContainer: { Format: "raw", Url: "ftp://x/y" } });
    await refused("MissingParameter", { DiskContainer: undefined });
    await refused("InvalidParameterDependency", { KmsKeyId: "alias/aws/ebs" });
    await refused("InvalidParameterValue", { Encrypted: true, KmsKeyId: "another" });
    await refused("DryRunOperation", { DryRun: true });
    await assert.rejects(ask("ImportImage", { DiskContainers: [] }), { code: "MissingParameter" });
    await assert.rejects(
      ask("ImportImage", { DiskContainers: [DiskContainer], BootMode: "legacy-bios" }),
      {
        code: "UnsupportedOperation",
      },
    );
    await assert.rejects(ask("CancelImportTask", { ImportTaskId: newId("import-ami-") }), {
      code: "InvalidConversionTaskId.NotFound",
    });
    assert.deepEqual((await ask("DescribeImportSnapshotTasks", {})).ImportSnapshotTasks, []);
  });

  await t.step("a task that runs, and one that waits behind it, are cancelled", async () => {
    const { begun } = held(world);
    const first = await ask("ImportSnapshot", { DiskContainer });
    const second = await ask("ImportImage", { DiskContainers: [DiskContainer] });
    await begun;
    assert.equal((await statusOf(first.ImportTaskId))?.Status, "active");
    await assert.rejects(ask("CancelImportTask", { ImportTaskId: first.ImportTaskId ?? "" }, bob), {
      code: "InvalidConversionTaskId.NotFound",
    });
    for (const { ImportTaskId = "" } of [second, first]) {
      const answer = await ask("CancelImportTask", { ImportTaskId });
      assert.deepEqual([answer.State, answer.PreviousState], ["deleting", "active"]);
    }
    await reaches(first.ImportTaskId, "deleted");
    await until("the other's end", async () => {
      const { ImportImageTasks: [task] = [] } = await ask("DescribeImportImageTasks", {
        ImportTaskIds: [second.ImportTaskId ?? ""],
      });
      return task?.Status === "deleted";
    });
    await assert.rejects(ask("CancelImportTask", { ImportTaskId: first.ImportTaskId ?? "" }), {
      code: "IncorrectState",
    });
    nothing(world);
  });

  await t.step("a disk that is at fault ends its task with the reason", async () => {
    world.objects.before = () => {};
    const { ImportTaskId } = await ask("ImportSnapshot", {
      DiskContainer: {
        Format: "raw",
        UserBucket: { S3Bucket: "disks", S3Key: "empty.raw" },
      },
      ClientToken: "once",
    });
    await reaches(ImportTaskId, "deleted");
    assert.match((await statusOf(ImportTaskId))?.StatusMessage ?? "", /^ClientError: .*empty/);
    nothing(world);
  });

  await t.step("no more than twenty are under way", async () => {
    const { letGo } = held(world);
    const made = await Promise.all(
      Array.from({ length: 20 }, () => ask("ImportSnapshot", { DiskContainer })),
    );
    await assert.rejects(ask("ImportSnapshot", { DiskContainer }), {
      code: "ResourceLimitExceeded",
    });
    for (const { ImportTaskId = "" } of made) await ask("CancelImportTask", { ImportTaskId });
    for (const { ImportTaskId } of made) await reaches(ImportTaskId, "deleted");
    letGo();
    nothing(world);
  });

  await t.step("what a dead process left is taken back and done by the next", async () => {
    world.objects.before = () => {};
    // The block store's NBD door is nobody's here: copying onto the volume fails as in a crash.
    const dead = Promise.withResolvers<string>();
    store.serve = () => dead.promise;
    const { ImportTaskId = "", SnapshotTaskDetail } = await ask("ImportSnapshot", {
      DiskContainer,
      Encrypted: true,
    });
    assert.equal(SnapshotTaskDetail?.Encrypted, true);
    assert.match(SnapshotTaskDetail.KmsKeyId ?? "", /^arn:aws:kms:/);
    await until("its volume", () => store.mounted.size === 1);
    assert.deepEqual([...store.volumes.values()].map(({ encrypted }) => encrypted), [true]);
    const record = [...world.state.records.table.list()].find(({ value }) =>
      value.id === ImportTaskId
    );
    assert.ok(record);
    store.serve = ({ volume_id }) => Promise.resolve(`/nowhere/${volume_id}`);
    const next = new TransferKeeper({
      ...world.side.transfers.dependencies,
      log: testLog,
      config: testConfig,
      directory: await Deno.makeTempDir({ prefix: "mulga-transfers-" }),
    });
    next.start();
    await reaches(ImportTaskId, "deleted");
    await next.stop();
    await Deno.remove(next.dependencies.directory, { recursive: true });
    assert.equal(store.mounted.size, 0);
    nothing(world);
    dead.resolve("/nowhere");
  });
});

Deno.test("a task that is cancelled when its work is done already leaves nothing", async () => {
  await using world = await startResourceSide();
  const { ask, state, store } = world;
  const SnapshotId = await snapshotIn(world);
  const answer = Promise.withResolvers<string>();
  const { images } = state;
  const modify = images.modify.bind(images);
  let cancelled: unknown;
  images.modify = async (...args) => {
    const made = await modify(...args);
    // The image is there: what comes next is the task's own end.
    if (cancelled === undefined) {
      cancelled = await ask("CancelImportTask", { ImportTaskId: await answer.promise });
    }
    return made;
  };
  const { ImportTaskId = "" } = await ask("ImportImage", { DiskContainers: [{ SnapshotId }] });
  answer.resolve(ImportTaskId);
  const task = async () =>
    (await ask("DescribeImportImageTasks", { ImportTaskIds: [ImportTaskId] })).ImportImageTasks
      ?.[0];
  await until(
    "its end",
    async () => !["active", "deleting"].includes((await task())?.Status ?? "active"),
  );
  assert.deepEqual(cancelled, { ImportTaskId, State: "deleting", PreviousState: "active" });
  assert.equal((await task())?.Status, "deleted");
  assert.deepEqual([...state.images.all()], []);
  assert.deepEqual([...state.snapshots.all()].map((one) => one.snapshot_id), [SnapshotId]);
  assert.deepEqual([...store.snapshots.keys()], [SnapshotId]);
});

Deno.test("what a task that failed has made goes also where the block store is away just then", async () => {
  await using world = await startResourceSide();
  const { ask, state, store } = world;
  const SnapshotId = await snapshotIn(world);
  let copies = 0;
  let refusals = 0;
  store.before = (call) => {
    if (call === "ebs.snapshot.copy" && ++copies === 2) {
      throw new AwsError("IncorrectState", "It is damaged.");
    }
    if (copies === 2 && refusals === 0) {
      refusals++;
      throw unavailable("The block store");
    }
  };
  const { ImportTaskId = "" } = await ask("ImportImage", {
    DiskContainers: [{ SnapshotId }, { SnapshotId }],
  });
  await until("its end", async () => {
    const { ImportImageTasks: [task] = [] } = await ask("DescribeImportImageTasks", {
      ImportTaskIds: [ImportTaskId],
    });
    return task?.Status === "deleted" && task.StatusMessage === "ClientError: It is damaged.";
  });
  assert.deepEqual([copies, refusals], [2, 1]);
  assert.deepEqual([...state.snapshots.all()].map((one) => one.snapshot_id), [SnapshotId]);
  assert.deepEqual([...store.snapshots.keys()], [SnapshotId]);
});

/** A served volume that qemu-img can read. */
async function served(world: ResourceWorld): Promise<AsyncDisposable> {
  const directory = await Deno.makeTempDir({ prefix: "mulga-served-" });
  const [disk, socket] = [`${directory}/disk`, `${directory}/socket`];
  await Deno.writeFile(disk, new Uint8Array(1 << 20));
  let server: Deno.ChildProcess | undefined;
  world.store.serve = async ({ volume_id }) => {
    server ??= new Deno.Command("qemu-nbd", {
      args: ["-t", "-e", "4", "-k", socket, "-f", "raw", "-x", volume_id, disk],
      stdin: "null",
      stdout: "null",
      stderr: "null",
    }).spawn();
    await until("the socket", () => Deno.stat(socket).then(() => true, () => false));
    return socket;
  };
  return {
    async [Symbol.asyncDispose]() {
      server?.kill();
      await server?.status;
      await Deno.remove(directory, { recursive: true });
    },
  };
}

Deno.test("an export that is cancelled when its object is written already leaves none", async () => {
  await using world = await startResourceSide();
  await using _disk = await served(world);
  const { ask, objects } = world;
  objects.buckets.set("disks", alice);
  const { ImageId = "" } = await ask("RegisterImage", {
    Name: "exported",
    RootDeviceName: "/dev/xvda",
    BlockDeviceMappings: [{
      DeviceName: "/dev/xvda",
      Ebs: { SnapshotId: await snapshotIn(world) },
    }],
  });
  const answer = Promise.withResolvers<string>();
  const upload = objects.upload.bind(objects);
  let written: string[] = [];
  objects.upload = async (...args) => {
    await upload(...args);
    written = [...objects.objects.keys()];
    await ask("CancelExportTask", { ExportTaskId: await answer.promise });
  };
  const { ExportImageTaskId = "" } = await ask("ExportImage", {
    ImageId,
    DiskImageFormat: "VMDK",
    S3ExportLocation: { S3Bucket: "disks", S3Prefix: "out/" },
  });
  answer.resolve(ExportImageTaskId);
  await until("its end", async () => {
    const { ExportImageTasks: [task] = [] } = await ask("DescribeExportImageTasks", {
      ExportImageTaskIds: [ExportImageTaskId],
    });
    return task?.Status === "deleted";
  });
  assert.deepEqual(written, [`disks/out/${ExportImageTaskId}.vmdk`]);
  assert.deepEqual([...objects.objects.keys()], []);
});

Deno.test("a task whose end was written without anybody hearing of it is not done once more, nor taken back", async () => {
  await using world = await startResourceSide();
  await using _disk = await served(world);
  const { ask, objects, state: { records } } = world;
  objects.buckets.set("disks", alice);
  const SnapshotId = await snapshotIn(world);
  const { ImageId = "" } = await ask("RegisterImage", {
    Name: "exported",
    RootDeviceName: "/dev/xvda",
    BlockDeviceMappings: [{ DeviceName: "/dev/xvda", Ebs: { SnapshotId } }],
  });
  const exported = async () => {
    const { ExportImageTasks: [task] = [] } = await ask("DescribeExportImageTasks", {});
    return task;
  };
  const change = records.change.bind(records);
  records.change = async (...args) => {
    const written = await change(...args);
    if ((await exported())?.Status === "completed") {
      records.change = change;
      // Its owner sees that it is done, and needs the image no more.
      await ask("DeregisterImage", { ImageId });
      throw unavailable("The state store");
    }
    return written;
  };
  await ask("ExportImage", {
    ImageId,
    DiskImageFormat: "VMDK",
    S3ExportLocation: { S3Bucket: "disks", S3Prefix: "out/" },
  });
  // The next one begins when this one has come to its end.
  await ask("ImportImage", { DiskContainers: [{ SnapshotId }] });
  await until("the next one's end", async () => {
    const { ImportImageTasks: [task] = [] } = await ask("DescribeImportImageTasks", {});
    return task?.Status === "completed";
  });
  const { Status, ExportImageTaskId } = await exported() ?? {};
  assert.equal(Status, "completed");
  assert.deepEqual([...objects.objects.keys()], [`disks/out/${ExportImageTaskId}.vmdk`]);
});

Deno.test("an import whose end could not be written tells of its snapshots when it is", async () => {
  await using world = await startResourceSide();
  const { ask, state: { records, snapshots } } = world;
  const SnapshotId = await snapshotIn(world);
  const table = records.of(importImageTask).table;
  const update = table.update.bind(table);
  table.update = async (...args) => {
    const [, record] = args;
    if (record.shape.Status === "completed") {
      table.update = update;
      throw unavailable("The state store");
    }
    return await update(...args);
  };
  await ask("ImportImage", { DiskContainers: [{ SnapshotId }] });
  const task = async () => (await ask("DescribeImportImageTasks", {})).ImportImageTasks?.[0];
  await until("its end", async () => (await task())?.Status === "completed");
  const [copy] = [...snapshots.all(alice)].filter((one) => one.snapshot_id !== SnapshotId);
  const [detail, ...more] = (await task())?.SnapshotDetails ?? [];
  assert.deepEqual(more, []);
  assert.deepEqual([detail?.SnapshotId, detail?.Status], [copy?.snapshot_id, "completed"]);
});

Deno.test("what a dead process had mounted for an export goes with the export, cancelled or not to be done any more", async () => {
  await using world = await startResourceSide();
  const { ask, objects, side, state, store } = world;
  objects.buckets.set("disks", alice);
  const SnapshotId = await snapshotIn(world);
  const volumes = store.volumes.size;
  for (const end of ["cancelled", "deregistered"]) {
    const dead = Promise.withResolvers<string>();
    using _buried = { [Symbol.dispose]: () => dead.resolve("/nowhere") };
    store.serve = () => dead.promise;
    const { ImageId = "" } = await ask("RegisterImage", {
      Name: end,
      RootDeviceName: "/dev/xvda",
      BlockDeviceMappings: [{ DeviceName: "/dev/xvda", Ebs: { SnapshotId } }],
    });
    const { ExportImageTaskId = "" } = await ask("ExportImage", {
      ImageId,
      DiskImageFormat: "RAW",
      S3ExportLocation: { S3Bucket: "disks" },
    });
    await until("its volume", () => store.mounted.size === 1);
    if (end === "cancelled") await ask("CancelExportTask", { ExportTaskId: ExportImageTaskId });
    else await ask("DeregisterImage", { ImageId });
    const next = new TransferKeeper({
      ...side.transfers.dependencies,
      directory: await Deno.makeTempDir({ prefix: "mulga-transfers-" }),
    });
    next.start();
    await until("its end", () => {
      const task = state.records.get(exportImageTask, alice, ExportImageTaskId);
      return task?.shape.Status === "deleted";
    });
    await next.stop();
    await Deno.remove(next.dependencies.directory, { recursive: true });
    assert.deepEqual([store.mounted.size, store.volumes.size], [0, volumes], end);
  }
});
