/** What compute's tests do with instances again and again. */
import assert from "node:assert/strict";
import { imageId, type TestNode } from "./node.ts";

/** With one processor where there is such a type: two emulated ones can wait for each other for minutes on a busy host. */
export const smallest = Deno.build.arch === "aarch64" ? "t4g.nano" : "t2.nano";

/** A disk without anything on it: its guest stays in the firmware and hears no power button. */
export async function blankDisk(): Promise<string> {
  const path = await Deno.makeTempFile({ prefix: "mulga-blank-", suffix: ".raw" });
  await Deno.truncate(path, 1 << 20);
  return path;
}

export async function launch(node: TestNode, more: Record<string, unknown> = {}): Promise<string> {
  const { Instances } = await node.call("RunInstances", {
    ImageId: imageId,
    InstanceType: smallest,
    MinCount: 1,
    MaxCount: 1,
    ...more,
  });
  const id = Instances?.[0]?.InstanceId;
  assert.ok(id);
  return id;
}

export async function reach(
  node: TestNode,
  id: string,
  state: string,
  bound_ms = 60_000,
): Promise<void> {
  await node.until(`${id} ${state}`, () => node.instance(id)?.state === state, bound_ms);
}

/** An instance that has ended has let go of its volumes; those that go with it go in the background. */
export async function volumesLeft(node: TestNode, states: readonly string[]): Promise<void> {
  const left = async () => {
    const { Volumes = [] } = await node.call("DescribeVolumes", {});
    return { states: Volumes.map(({ State = "" }) => State), stored: node.blocks.sizes.size };
  };
  const wanted = { states, stored: states.length };
  const isSo = async () => JSON.stringify(await left()) === JSON.stringify(wanted);
  await node.until("volumes go", isSo).catch(() => {});
  assert.deepEqual(await left(), wanted);
}

/** Attaches a new volume of 1 GiB, and returns its id without waiting until the guest has it. */
export async function attachNew(node: TestNode, id: string, device: string): Promise<string> {
  const { VolumeId = "" } = await node.call("CreateVolume", {
    AvailabilityZone: node.config.az,
    Size: 1,
  });
  await node.until(
    "made",
    async () =>
      (await node.call("DescribeVolumes", { VolumeIds: [VolumeId] })).Volumes?.[0]?.State ===
        "available",
  );
  await node.call("AttachVolume", { InstanceId: id, VolumeId, Device: device });
  return VolumeId;
}
