import assert from "node:assert/strict";
import { alice, bob, startResourceSide } from "../../../tests/kit/resource_side.ts";
import { newId } from "../../resources/ids.ts";

/** An image of alice's, made so many years ago. */
async function imageWorld(years: number) {
  const world = await startResourceSide();
  const made = new Date();
  made.setUTCFullYear(made.getUTCFullYear() - years);
  const image_id = newId("ami-");
  await world.state.images.create({
    image_id,
    account_id: alice,
    name: "to deprecate",
    architecture: "x86_64",
    boot_mode: "uefi",
    root_device_name: "/dev/xvda",
    block_devices: [],
    public: false,
    creation_date: made.toISOString(),
    tags: {},
    state: "available",
  });
  const { ask } = world;
  await ask("DisableImageBlockPublicAccess", {});
  const share = (Group: "Add" | "Remove") =>
    ask("ModifyImageAttribute", {
      ImageId: image_id,
      LaunchPermission: { [Group]: [{ Group: "all" }] },
    });
  const shown = async (input: object, account = alice) =>
    (await ask("DescribeImages", input, account)).Images?.find((one) => one.ImageId === image_id);
  const twoYears = new Date(made);
  twoYears.setUTCFullYear(made.getUTCFullYear() + 2);
  return { ...world, ask, image_id, share, shown, made, twoYears: twoYears.toISOString() };
}

Deno.test("a public image is deprecated two years after it was made at the latest, others in ten", async () => {
  const world = await imageWorld(1);
  await using _ = world;
  const { ask, image_id: ImageId, share } = world;
  const inMonths = (months: number) => {
    const at = new Date();
    at.setUTCMonth(at.getUTCMonth() + months);
    return ask("EnableImageDeprecation", { ImageId, DeprecateAt: at.toISOString() });
  };
  await inMonths(100);
  await assert.rejects(inMonths(121), { code: "InvalidParameterValue" });
  await share("Add");
  await assert.rejects(inMonths(13), { code: "InvalidParameterValue" });
  await inMonths(11);
});

Deno.test("a public image is deprecated two years after it was made unless an earlier time was said", async () => {
  const world = await imageWorld(1);
  await using _ = world;
  const { ask, image_id: ImageId, share, shown, twoYears } = world;
  const time = async () => (await shown({}))?.DeprecationTime;
  assert.equal(await time(), undefined);
  await share("Add");
  assert.equal(await time(), twoYears);
  await assert.rejects(ask("DisableImageDeprecation", { ImageId }), {
    code: "OperationNotPermitted",
  });
  const soon = new Date(Date.now() + 3_600_000);
  soon.setUTCSeconds(0, 0);
  await ask("EnableImageDeprecation", { ImageId, DeprecateAt: soon.toISOString() });
  assert.equal(await time(), soon.toISOString());
  await share("Remove");
  await ask("DisableImageDeprecation", { ImageId });
  assert.equal(await time(), undefined);
});

Deno.test("others see a deprecated image by its id, or when they ask for such", async () => {
  const world = await imageWorld(3);
  await using _ = world;
  const { image_id, share, shown, twoYears } = world;
  await share("Add");
  assert.equal((await shown({}))?.DeprecationTime, twoYears);
  assert.equal(await shown({}, bob), undefined);
  assert.ok(await shown({ IncludeDeprecated: true }, bob));
  assert.ok(await shown({ ImageIds: [image_id] }, bob));
});
