/** Prefix lists as users call them over HTTPS. */
import assert from "node:assert/strict";
import { startScenario } from "../kit/ec2_scenario.ts";
import { filter, oneNetwork } from "./one_network.ts";

const region = "ap-southeast-2";

Deno.test("prefix lists follow EC2's rules", async (t) => {
  await using ec2 = await startScenario();
  const { call, refused } = ec2;
  const { VpcId } = await oneNetwork(ec2);

  await t.step("prefix lists and their versions", async () => {
    const { PrefixList: made } = await call("CreateManagedPrefixList", {
      PrefixListName: "offices",
      AddressFamily: "IPv4",
      MaxEntries: 2,
      Entries: [{ Cidr: "192.0.2.9/24", Description: "one" }],
    });
    const PrefixListId = made?.PrefixListId ?? "";
    await refused("PrefixListVersionMismatch", "ModifyManagedPrefixList", {
      PrefixListId,
      CurrentVersion: 9,
    });
    await call("ModifyManagedPrefixList", {
      PrefixListId,
      CurrentVersion: 1,
      AddEntries: [{ Cidr: "198.51.100.0/24" }],
    });
    await refused("PrefixListMaxEntriesExceeded", "ModifyManagedPrefixList", {
      PrefixListId,
      CurrentVersion: 2,
      AddEntries: [{ Cidr: "203.0.113.0/24" }],
    });
    const { Entries = [] } = await call("GetManagedPrefixListEntries", { PrefixListId });
    assert.deepEqual(Entries.map((one) => one.Cidr).sort(), ["192.0.2.0/24", "198.51.100.0/24"]);
    const { PrefixList: restored } = await call("RestoreManagedPrefixListVersion", {
      PrefixListId,
      PreviousVersion: 1,
      CurrentVersion: 2,
    });
    assert.equal(restored?.Version, 3);
    const { GroupId } = await call("CreateSecurityGroup", {
      GroupName: "g",
      Description: "g",
      VpcId,
    });
    const rule = {
      GroupId,
      IpPermissions: [{ IpProtocol: "-1", PrefixListIds: [{ PrefixListId }] }],
    };
    await call("AuthorizeSecurityGroupIngress", rule);
    const used = await call("GetManagedPrefixListAssociations", { PrefixListId });
    assert.deepEqual(used.PrefixListAssociations?.map((one) => one.ResourceId), [GroupId]);
    await refused("DependencyViolation", "DeleteManagedPrefixList", { PrefixListId });
    await call("RevokeSecurityGroupIngress", rule);
    assert.equal(
      (await call("DescribeManagedPrefixLists", { Filters: filter("prefix-list-name", "off*") }))
        .PrefixLists?.length,
      1,
    );
    await call("DeleteManagedPrefixList", { PrefixListId });
    assert.equal(
      (await call("DescribePrefixLists", {})).PrefixLists?.[0]?.PrefixListName,
      `com.amazonaws.${region}.s3`,
    );
  });
});
