import assert from "node:assert/strict";
import { testConfig } from "../../../tests/kit/compute.ts";
import { startResourceSide } from "../../../tests/kit/resource_side.ts";
import { offeredSizes, sizeOf } from "./instance_types.ts";
import { zoneId } from "../../resources/zone_names.ts";

Deno.test("a machine offers what it can hold, of its own architecture", () => {
  const names = (vcpus: number, memory_mib: number, architecture: "x86_64" | "arm64" = "x86_64") =>
    offeredSizes({ architecture, vcpus, memory_mib }).map((size) => size.name);
  const small = ["t2.micro", "t2.nano", "t2.small"];
  assert.deepEqual(names(2, 2048), [...small, "t3.micro", "t3.nano", "t3.small"]);
  assert.deepEqual(names(1, 2048), small);
  assert.deepEqual(names(1, 4096, "arm64"), ["c6g.medium", "m6g.medium"]);
  assert.deepEqual(names(1, 100), []);
  assert.ok(names(64, 1 << 20).includes("r5.2xlarge"));
  assert.deepEqual(sizeOf("t3.nano"), {
    name: "t3.nano",
    architecture: "x86_64",
    vcpus: 2,
    memory_mib: 512,
  });
  assert.equal(sizeOf("t3.huge"), undefined);
});

Deno.test("zones have EC2's ids", () => {
  assert.equal(zoneId("ap-southeast-2a"), "apse2-az1");
  assert.equal(zoneId("us-east-1c"), "use1-az3");
  assert.equal(zoneId("us-gov-west-1a"), "usgovw1-az1");
  assert.equal(zoneId("home"), "home-az1");
});

Deno.test("types, regions and zones over the bus", async () => {
  await using world = await startResourceSide({
    architecture: "x86_64",
    vcpus: 4,
    memory_mib: 16_384,
  });
  const { ask } = world;
  const { InstanceTypes: all = [] } = await ask("DescribeInstanceTypes", {});
  const first = await ask("DescribeInstanceTypes", { MaxResults: 5 });
  const second = await ask("DescribeInstanceTypes", {
    MaxResults: 100,
    NextToken: first.NextToken,
  });
  assert.deepEqual([...first.InstanceTypes ?? [], ...second.InstanceTypes ?? []], all);
  const { InstanceTypes: found } = await ask("DescribeInstanceTypes", {
    Filters: [{ Name: "instance-type", Values: ["t3.*"] }, {
      Name: "memory-info.size-in-mib",
      Values: ["1024"],
    }],
  });
  assert.deepEqual(found?.map((one) => one.InstanceType), ["t3.micro"]);
  assert.deepEqual(found?.[0]?.VCpuInfo?.DefaultVCpus, 2);
  const refused = async (code: string, work: Promise<unknown>) =>
    await assert.rejects(work, { code });
  await refused(
    "InvalidInstanceType",
    ask("DescribeInstanceTypes", { InstanceTypes: ["t3.2xlarge"] }),
  );
  await refused("InvalidParameterValue", ask("DescribeInstanceTypes", { MaxResults: 101 }));
  await refused(
    "InvalidParameterCombination",
    ask("DescribeInstanceTypes", { MaxResults: 5, InstanceTypes: ["t3.nano"] }),
  );

  assert.deepEqual(await ask("DescribeRegions", {}), {
    Regions: [{
      RegionName: testConfig.region,
      Endpoint: "localhost:9999",
      OptInStatus: "opt-in-not-required",
    }],
  });
  await refused("InvalidParameterValue", ask("DescribeRegions", { RegionNames: ["us-east-1"] }));
  const { AvailabilityZones: zones } = await ask("DescribeAvailabilityZones", {
    Filters: [{ Name: "zone-id", Values: ["apse2-az?"] }],
  });
  assert.deepEqual(zones?.map((zone) => [zone.ZoneName, zone.State]), [[
    testConfig.az,
    "available",
  ]]);
  await refused(
    "InvalidParameterValue",
    ask("DescribeAvailabilityZones", { ZoneNames: ["us-east-1a"] }),
  );
});
