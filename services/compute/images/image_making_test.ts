import assert from "node:assert/strict";
import { alice, startResourceSide } from "../../../tests/kit/resource_side.ts";
import { newId } from "../../resources/ids.ts";
import { until } from "../../../tests/kit/until.ts";

Deno.test("an image that cannot be removed or settled hinders none of the others", async () => {
  await using world = await startResourceSide();
  const { state, side } = world;
  const { images } = state;
  const image = (name: string) => ({
    image_id: newId("ami-"),
    account_id: alice,
    name,
    architecture: "x86_64" as const,
    boot_mode: "uefi" as const,
    root_device_name: "/dev/xvda",
    block_devices: [],
    public: false,
    creation_date: new Date().toISOString(),
    tags: {},
    state: "pending" as const,
    awaits_snapshots: true as const,
  });
  const making = { until: new Date(0).toISOString(), snapshot_ids: [] };
  const [left, awaiting] = [["left 1", "left 2"], ["awaits 1", "awaits 2"]].map((names) =>
    names.map(image)
  );
  for (const one of left ?? []) await images.create({ ...one, making });
  for (const one of awaiting ?? []) await images.create(one);
  // Whichever comes first of each pair fails.
  const failed = { removed: "", settled: "" };
  const { table } = images;
  const remove = table.delete.bind(table);
  table.delete = async (key, revision) => {
    failed.removed ||= key;
    if (key === failed.removed) throw new Error("this one fails");
    await remove(key, revision);
  };
  const modify = images.modify.bind(images);
  images.modify = async (account, id, change) => {
    failed.settled ||= id;
    if (id === failed.settled) throw new Error("this one fails");
    return await modify(account, id, change);
  };
  side.snapshots.sweep();
  const stateOf = ({ image_id }: { readonly image_id: string }) =>
    images.get(alice, image_id)?.state;
  await until(
    "the other of each",
    () => {
      const isGone = left?.filter((one) => stateOf(one) === undefined).length === 1 ||
        [...images.all()].filter(({ making }) => making !== undefined).length === 1;
      return isGone && awaiting?.filter((one) => stateOf(one) === "available").length === 1;
    },
  );
  assert.notEqual(failed.removed, "");
  assert.notEqual(failed.settled, "");
});
