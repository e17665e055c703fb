/** Image files of every kind and condition, brought in through the real qemu-img and an NBD server. */
import assert from "node:assert/strict";
import { join } from "node:path";
import { importImage, type ImportImageRequest } from "../../services/compute/contract.ts";
import { ImageImporter } from "../../services/compute/transfers/image_import.ts";
import { systemContext } from "../../services/bus/subject.ts";
import { testConfig } from "../kit/compute.ts";
import { untilListening } from "../kit/listening.ts";
import { testLog } from "../kit/nats.ts";
import { alice, bob, type ResourceWorld, startResourceSide } from "../kit/resource_side.ts";
import { until } from "../kit/until.ts";

async function run(program: string, ...args: string[]): Promise<void> {
  const { success, stderr } = await new Deno.Command(program, { args }).output();
  if (!success) throw new Error(`${program}: ${new TextDecoder().decode(stderr)}`);
}

/** Serves the block store's volumes from files, as viperblock does from its log. */
class NbdFiles implements AsyncDisposable {
  readonly #children = new Map<string, Deno.ChildProcess>();
  constructor(readonly directory: string, { store }: ResourceWorld) {
    store.serve = async ({ volume_id, size_bytes }) => {
      const socket = join(directory, `${volume_id}.nbd`);
      if (this.#children.has(volume_id)) return socket;
      const file = await Deno.open(this.path(volume_id), { create: true, write: true });
      await file.truncate(size_bytes);
      file.close();
      const child = new Deno.Command("qemu-nbd", {
        args: ["-t", "-f", "raw", "-k", socket, "-x", volume_id, this.path(volume_id)],
        stdout: "null",
        stderr: "null",
      }).spawn();
      this.#children.set(volume_id, child);
      await untilListening(socket);
      return socket;
    };
    store.unserve = async (volumeId) => await this.#end(volumeId);
  }

  path(volumeId: string): string {
    return join(this.directory, `${volumeId}.img`);
  }

  async #end(volumeId: string): Promise<void> {
    const child = this.#children.get(volumeId);
    this.#children.delete(volumeId);
    child?.kill("SIGTERM");
    await child?.status;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    for (const volumeId of [...this.#children.keys()]) await this.#end(volumeId);
  }
}

/** Nothing of an import is anywhere but what was there before. */
function assertNothingLeft({ state, store }: ResourceWorld, images: number): void {
  assert.equal([...state.images.all()].length, images);
  assert.equal([...state.snapshots.all()].length, images);
  assert.equal(store.volumes.size, 0);
  assert.equal(store.mounted.size, 0);
  assert.equal(store.snapshots.size, images);
}

Deno.test("image files are brought in whole, or not at all", async (t) => {
  await using world = await startResourceSide();
  const directory = await Deno.makeTempDir({ prefix: "mulga-import-" });
  await using stack = new AsyncDisposableStack();
  stack.defer(() => Deno.remove(directory, { recursive: true }));
  const files = stack.use(new NbdFiles(directory, world));
  const { store, state, ask } = world;
  const gateway = await world.nats.bus("operator");
  const at = (name: string) => join(directory, name);
  const bringIn = (path: string, more: Partial<ImportImageRequest> = {}) =>
    gateway.ask(importImage, {
      path: at(path),
      format: "raw",
      name: `image ${path}`,
      architecture: "x86_64",
      account_id: alice,
      ...more,
    }, systemContext(60_000));
  /** What was on the volume when it was frozen. */
  let frozen = new Uint8Array();
  const unserve = store.unserve;
  store.unserve = async (volumeId) => {
    await unserve(volumeId);
    frozen = await Deno.readFile(files.path(volumeId)).catch(() => new Uint8Array());
  };

  const size = 3_001_123;
  const content = new Uint8Array(size);
  for (let start = 0; start < size; start += 65_536) {
    if ((start / 65_536) % 3 !== 1) {
      crypto.getRandomValues(content.subarray(start, Math.min(start + 65_536, size)));
    }
  }
  await Deno.writeFile(at("disk.raw"), content);
  const convert = (to: string, format: string, ...options: string[]) =>
    run("qemu-img", "convert", "-f", "raw", "-O", format, ...options, at("disk.raw"), at(to));
  await convert("disk.qcow2", "qcow2");
  await convert("packed.qcow2", "qcow2", "-c");
  await convert("disk.vmdk", "vmdk");
  await convert("stream.vmdk", "vmdk", "-o", "subformat=streamOptimized");
  await convert("flat.vmdk", "vmdk", "-o", "subformat=monolithicFlat");

  let images = 0;
  for (
    const [file, format] of [
      ["disk.raw", "raw"],
      ["disk.qcow2", "qcow2"],
      ["packed.qcow2", "qcow2"],
      ["disk.vmdk", "vmdk"],
      ["stream.vmdk", "vmdk"],
    ] as const
  ) {
    await t.step(`${file}, whose size is no multiple of 4096, is there byte for byte`, async () => {
      const heard: number[] = [];
      const listening = gateway.listen<{ name: string; percent: number }>(
        "compute.event.import.*",
        ({ percent }) => {
          heard.push(percent);
        },
      );
      const { image_id } = await bringIn(file, { format, tags: { from: file } });
      await until("the last progress", () => heard.at(-1) === 100);
      assert.deepEqual(heard, [...heard].sort((a, b) => a - b));
      await listening.close();
      images++;
      assert.equal(frozen.length % 4096, 0);
      assert.deepEqual(frozen.subarray(0, size), content);
      assert.ok(frozen.subarray(size).every((byte) => byte === 0), "padded with zeros");
      const { Images: [image] = [] } = await ask("DescribeImages", { ImageIds: [image_id] }, bob);
      assert.equal(image?.State, "available");
      assert.equal(image?.BlockDeviceMappings?.[0]?.Ebs?.VolumeSize, 1);
      assert.ok(store.snapshots.has(image?.BlockDeviceMappings?.[0]?.Ebs?.SnapshotId ?? ""));
      assertNothingLeft(world, images);
    });
  }

  const refused = async (
    path: string,
    more: Partial<ImportImageRequest>,
    code = "InvalidDiskImage",
  ) => {
    await assert.rejects(bringIn(path, { name: "a bad one", ...more }), { code });
    assertNothingLeft(world, images);
  };

  await t.step("files that are not one whole image are refused", async () => {
    await run(
      "qemu-img",
      "create",
      "-q",
      "-f",
      "qcow2",
      "-b",
      at("disk.raw"),
      "-F",
      "raw",
      at("backed.qcow2"),
    );
    await refused("backed.qcow2", { format: "qcow2" });
    await run(
      "qemu-img",
      "create",
      "-q",
      "-f",
      "qcow2",
      "-o",
      `data_file=${at("outside.raw")}`,
      at("outside.qcow2"),
      "4M",
    );
    await refused("outside.qcow2", { format: "qcow2" });
    await refused("flat.vmdk", { format: "vmdk" });
    await Deno.writeTextFile(
      at("passwd.vmdk"),
      `# Disk DescriptorFile\nversion=1\ncreateType="monolithicFlat"\nRW 8 FLAT "/etc/passwd" 0\n`,
    );
    await refused("passwd.vmdk", { format: "vmdk" });
    await refused("passwd.vmdk", { format: "raw" });
  });

  await t.step("a format that is not the file's is refused", async () => {
    await refused("disk.qcow2", { format: "raw" });
    await refused("disk.raw", { format: "qcow2" });
    await refused("disk.vmdk", { format: "qcow2" });
    await refused("disk.raw", { format: "vhd" as "raw" }, "InvalidParameterValue");
  });

  await t.step("corrupt and cut files are refused", async () => {
    for (
      const [file, format] of [["disk.qcow2", "qcow2"], ["disk.vmdk", "vmdk"], [
        "stream.vmdk",
        "vmdk",
      ]] as const
    ) {
      const bytes = await Deno.readFile(at(file));
      await Deno.writeFile(at("cut"), bytes.subarray(0, bytes.length - 300_000));
      await refused("cut", { format });
      await Deno.writeFile(at("cut"), bytes.subarray(0, 40));
      await refused("cut", { format });
    }
    const qcow2 = await Deno.readFile(at("disk.qcow2"));
    qcow2.fill(0xa5, 65_536, 4 * 65_536);
    await Deno.writeFile(at("corrupt"), qcow2);
    await refused("corrupt", { format: "qcow2" });
    await Deno.writeFile(at("empty"), new Uint8Array());
    await refused("empty", {});
    await refused("missing", {});
    await refused("", {});
    const table = new Uint8Array(1 << 20);
    table.set(new TextEncoder().encode("EFI PART"), 512);
    new DataView(table.buffer).setBigUint64(512 + 32, 4096n, true);
    await Deno.writeFile(at("cut.raw"), table);
    await refused("cut.raw", {});
  });

  await t.step("names, accounts and paths are checked", async () => {
    await refused("disk.raw", { name: "image disk.raw" }, "InvalidAMIName.Duplicate");
    await refused("disk.raw", { name: "x" }, "InvalidAMIName.Malformed");
    await refused("disk.raw", { account_id: "me" }, "InvalidParameterValue");
    await refused("disk.raw", { path: "disk.raw" }, "InvalidParameterValue");
    await refused("disk.raw", { tags: { "aws:x": "" } }, "InvalidParameterValue");
    store.available_bytes = 1000;
    await refused("disk.raw", {}, "InsufficientVolumeCapacity");
    store.available_bytes = 2 ** 40;
  });

  await t.step(
    "an account that encrypts by default has encrypted images, which are not public",
    async () => {
      await ask("EnableEbsEncryptionByDefault", {});
      await refused(
        "disk.raw",
        { name: "sealed image", public: true },
        "InvalidParameterCombination",
      );
      const { image_id } = await bringIn("disk.raw", { name: "sealed image" });
      images++;
      await ask("DisableEbsEncryptionByDefault", {});
      const { Images: [image] = [] } = await ask("DescribeImages", { ImageIds: [image_id] });
      assert.equal(image?.Public, false);
      const ebs = image?.BlockDeviceMappings?.[0]?.Ebs;
      assert.equal(ebs?.Encrypted, true);
      const { Snapshots: [snapshot] = [] } = await ask("DescribeSnapshots", {
        SnapshotIds: [ebs?.SnapshotId ?? ""],
      });
      assert.equal(snapshot?.Encrypted, true);
      assert.match(snapshot?.KmsKeyId ?? "", /alias\/aws\/ebs$/);
      assert.equal(store.snapshots.get(ebs?.SnapshotId ?? "")?.encrypted, true);
    },
  );

  await t.step("a failure at any step leaves nothing", async () => {
    for (
      const step of [
        "ebs.volume.create",
        "ebs.mount",
        "ebs.unmount",
        "ebs.snapshot.create",
        "ebs.volume.delete",
      ]
    ) {
      let failed = false;
      store.before = (call) => {
        if (call !== step || failed) return;
        failed = true;
        throw new Error("the disk is full");
      };
      await refused("disk.raw", {}, "InternalError");
      assert.ok(failed);
    }
    store.before = () => {};
    store.serve = () => Promise.resolve("/nowhere/socket");
    await refused("disk.raw", {});
  });

  await t.step("what a dead process left is taken back by the next", async () => {
    store.before = (call) => {
      if (call !== "ebs.capacity") throw new Error("away");
    };
    await assert.rejects(bringIn("disk.raw", { name: "left behind" }));
    store.before = () => {};
    assert.equal([...state.images.all()].filter((image) => image.state === "failed").length, 1);
    const next = new ImageImporter({
      bus: gateway,
      log: testLog,
      config: testConfig,
      state,
    });
    next.sweep();
    await until("the cleaning", () => [...state.images.all()].length === images);
    await next.stop();
    assertNothingLeft(world, images);
  });
});
