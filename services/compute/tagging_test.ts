import assert from "node:assert/strict";
import { callerOf, instanceRecord, testConfig } from "../../tests/kit/compute.ts";
import { alice, bob, startResourceSide } from "../../tests/kit/resource_side.ts";
import { newId } from "../resources/ids.ts";

Deno.test("tags over every type of resource", async (t) => {
  await using world = await startResourceSide();
  const { ask } = world;
  const volume =
    (await ask("CreateVolume", { AvailabilityZone: testConfig.az, Size: 1 })).VolumeId ?? "";
  const key = (await ask("CreateKeyPair", { KeyName: "k", KeyType: "ed25519" })).KeyPairId ?? "";
  const instance = instanceRecord({ account_id: alice });
  await world.instances.create(instance);
  const all = [volume, key, instance.instance_id];
  const tag = (Key: string, Value = "") => ({ Key, Value });
  const described = async (Filters: { Name: string; Values: string[] }[] = [], account = alice) =>
    (await ask("DescribeTags", { Filters }, account)).Tags ?? [];

  await t.step("several resources are tagged at once, each with its type", async () => {
    await ask("CreateTags", { Resources: all, Tags: [tag("Name", "one"), tag("empty")] });
    const tags = await described();
    assert.equal(tags.length, 6);
    assert.deepEqual(
      tags.filter((one) => one.Key === "Name").map((one) => one.ResourceType).sort(),
      ["instance", "key-pair", "volume"],
    );
    assert.deepEqual(await described([], bob), []);
    const { Volumes: [shown] = [] } = await ask("DescribeVolumes", {
      Filters: [{ Name: "tag:Name", Values: ["o*"] }],
    });
    assert.deepEqual(shown?.Tags, [tag("Name", "one"), tag("empty")]);
  });

  await t.step("one resource that is not there, and none is changed", async () => {
    for (
      const [id, code] of [
        [newId("vol-"), "InvalidVolume.NotFound"],
        [newId("i-"), "InvalidInstanceID.NotFound"],
        [newId("ami-"), "InvalidAMIID.NotFound"],
        ["xyz-1", "InvalidID"],
        ["vol-1", "InvalidVolumeID.Malformed"],
      ] as const
    ) {
      await assert.rejects(ask("CreateTags", { Resources: [volume, id], Tags: [tag("new")] }), {
        code,
      });
    }
    assert.ok((await described()).every((one) => one.Key !== "new"));
  });

  await t.step("policies are asked about EC2's own ARNs", () => {
    const image = "ami-0123456789abcdef0";
    const resources = world.side.actions.CreateTags.resources?.(
      { Resources: [...all, image], Tags: [] },
      { ...callerOf(alice), signal: AbortSignal.timeout(1000) },
    );
    const of = (what: string) => `arn:aws:ec2:${testConfig.region}:${alice}:${what}`;
    assert.deepEqual(resources, [
      of(`volume/${volume}`),
      of("key-pair/k"),
      of(`instance/${instance.instance_id}`),
      `arn:aws:ec2:${testConfig.region}::image/${image}`,
    ]);
  });

  await t.step("limits and reserved keys", async () => {
    const refused = async (code: string, Tags: { Key: string; Value: string }[]) =>
      await assert.rejects(ask("CreateTags", { Resources: [volume], Tags }), { code });
    await refused("InvalidParameterValue", [tag("aws:x")]);
    await refused("MissingParameter", []);
    await refused("TagLimitExceeded", Array.from({ length: 49 }, (_, at) => tag(`k${at}`)));
    await ask("CreateTags", {
      Resources: [volume],
      Tags: Array.from({ length: 48 }, (_, at) => tag(`k${at}`)),
    });
    await refused("TagLimitExceeded", [tag("one more")]);
    await ask("CreateTags", { Resources: [volume], Tags: [tag("Name", "again")] });
  });

  await t.step("tags set at once by many are all there", async () => {
    await Promise.all(
      Array.from(
        { length: 20 },
        (_, at) => ask("CreateTags", { Resources: [key], Tags: [tag(`c${at}`)] }),
      ),
    );
    const tags = await described([{ Name: "resource-id", Values: [key] }]);
    assert.equal(tags.filter((one) => one.Key?.startsWith("c")).length, 20);
  });

  await t.step("pages and filters of DescribeTags", async () => {
    const keys: string[] = [];
    let NextToken: string | undefined;
    do {
      const page = await ask("DescribeTags", {
        MaxResults: 7,
        ...(NextToken === undefined ? {} : { NextToken }),
        Filters: [{ Name: "resource-type", Values: ["volume"] }],
      });
      keys.push(...(page.Tags ?? []).map((one) => one.Key ?? ""));
      NextToken = page.NextToken;
    } while (NextToken !== undefined);
    assert.equal(keys.length, 50);
    assert.equal(new Set(keys).size, 50);
    assert.equal((await described([{ Name: "key", Values: ["Name"] }])).length, 3);
    assert.equal((await described([{ Name: "tag:Name", Values: ["again"] }])).length, 50);
    await assert.rejects(described([{ Name: "colour", Values: ["x"] }]), {
      code: "InvalidParameterValue",
    });
  });

  await t.step("tags are deleted by key, by key and value, or all", async () => {
    await ask("DeleteTags", {
      Resources: all,
      Tags: [{ Key: "empty" }, { Key: "Name", Value: "one" }],
    });
    const names = await described([{ Name: "key", Values: ["Name", "empty"] }]);
    assert.deepEqual(names.map((one) => one.ResourceId), [volume]);
    await ask("DeleteTags", { Resources: [volume] });
    assert.deepEqual(await described([{ Name: "resource-id", Values: [volume] }]), []);
  });
});
