/** Rules of groups by names and lists, and prefix lists over their versions. */
import assert from "node:assert/strict";
import { startScenario } from "../kit/ec2_scenario.ts";

Deno.test("rules of groups and prefix lists follow EC2's rules over HTTPS", async (t) => {
  await using ec2 = await startScenario();
  const { call, refused } = ec2;
  const made = async (GroupName: string) =>
    (await call("CreateSecurityGroup", { GroupName, Description: GroupName })).GroupId ?? "";
  const [web, db] = [await made("web"), await made("db")];
  const rulesOf = async (id: string) =>
    (await call("DescribeSecurityGroupRules", {
      Filters: [{ Name: "group-id", Values: [id] }],
    })).SecurityGroupRules?.filter((one) => one.IsEgress === false) ?? [];

  await t.step("a group of the default VPC is named by its name", async () => {
    const permission = {
      IpProtocol: "tcp",
      FromPort: 5432,
      ToPort: 5432,
      UserIdGroupPairs: [{ GroupName: "web" }],
    };
    await call("AuthorizeSecurityGroupIngress", { GroupName: "db", IpPermissions: [permission] });
    assert.deepEqual((await rulesOf(db)).map((one) => one.ReferencedGroupInfo?.GroupId), [web]);
    await call("RevokeSecurityGroupIngress", { GroupId: db, IpPermissions: [permission] });
    await refused("InvalidGroup.NotFound", "AuthorizeSecurityGroupIngress", {
      GroupId: db,
      IpPermissions: [{ ...permission, UserIdGroupPairs: [{ GroupName: "nobody" }] }],
    });
    await call("AuthorizeSecurityGroupIngress", {
      GroupName: "db",
      SourceSecurityGroupName: "web",
    });
    assert.deepEqual(
      (await rulesOf(db)).map((one) => [one.IpProtocol, one.FromPort, one.ToPort]).sort(),
      [["icmp", -1, -1], ["tcp", 0, 65535], ["udp", 0, 65535]],
    );
    await refused("InvalidParameterCombination", "AuthorizeSecurityGroupIngress", {
      GroupName: "db",
      SourceSecurityGroupName: "web",
      IpProtocol: "tcp",
    });
    await call("RevokeSecurityGroupIngress", { GroupName: "db", SourceSecurityGroupName: "web" });
    assert.deepEqual(await rulesOf(db), []);
  });

  await t.step("no change makes two rules one", async () => {
    const { SecurityGroupRules: [one, two] = [] } = await call("AuthorizeSecurityGroupIngress", {
      GroupId: web,
      IpPermissions: [80, 81].map((port) => ({
        IpProtocol: "tcp",
        FromPort: port,
        ToPort: port,
        IpRanges: [{ CidrIp: "10.0.0.0/8" }],
      })),
    });
    const to = (id: string | undefined, port: number) => ({
      SecurityGroupRuleId: id ?? "",
      SecurityGroupRule: {
        IpProtocol: "tcp",
        FromPort: port,
        ToPort: port,
        CidrIpv4: "10.0.0.0/8",
      },
    });
    const [first, second] = [one?.SecurityGroupRuleId, two?.SecurityGroupRuleId];
    await refused("InvalidPermission.Duplicate", "ModifySecurityGroupRules", {
      GroupId: web,
      SecurityGroupRules: [to(first, 81)],
    });
    await refused("InvalidParameterCombination", "ModifySecurityGroupRules", {
      GroupId: web,
      SecurityGroupRules: [{
        SecurityGroupRuleId: first ?? "",
        SecurityGroupRule: {
          IpProtocol: "tcp",
          FromPort: 82,
          ToPort: 82,
          CidrIpv4: "10.0.0.0/8",
          CidrIpv6: "::/0",
        },
      }],
    });
    // Both change places at once.
    await call("ModifySecurityGroupRules", {
      GroupId: web,
      SecurityGroupRules: [to(first, 81), to(second, 80)],
    });
    assert.deepEqual((await rulesOf(web)).map((rule) => rule.FromPort).sort(), [80, 81]);
  });

  await t.step("ICMP types are in their range; other protocols have no ports", async () => {
    const rule = (IpProtocol: string, FromPort: number, ToPort: number) => ({
      GroupId: db,
      IpPermissions: [{ IpProtocol, FromPort, ToPort, IpRanges: [{ CidrIp: "10.0.0.0/8" }] }],
    });
    await refused("InvalidParameterValue", "AuthorizeSecurityGroupIngress", rule("icmp", 300, -1));
    await refused("InvalidParameterValue", "AuthorizeSecurityGroupIngress", rule("icmp", 8, -2));
    const { SecurityGroupRules: [esp] = [] } = await call(
      "AuthorizeSecurityGroupIngress",
      rule("50", 1, 2),
    );
    assert.deepEqual([esp?.FromPort, esp?.ToPort], [-1, -1]);
  });

  await t.step("a rule leads to the cloud's own list", async () => {
    const { PrefixLists: [s3] = [] } = await call("DescribePrefixLists", {});
    const rule = (PrefixListId: string | undefined) => ({
      GroupId: web,
      IpPermissions: [{
        IpProtocol: "tcp",
        FromPort: 443,
        ToPort: 443,
        PrefixListIds: [{ PrefixListId }],
      }],
    });
    await call("AuthorizeSecurityGroupEgress", rule(s3?.PrefixListId));
    await refused(
      "InvalidPrefixListID.NotFound",
      "AuthorizeSecurityGroupEgress",
      rule("pl-0123456789abcdef0"),
    );
  });

  await t.step("a list has each block once, and can be changed for ever", async () => {
    const block = (at: number) => `10.${at >> 8}.${at & 255}.0/24`;
    const { PrefixList: list } = await call("CreateManagedPrefixList", {
      PrefixListName: "offices",
      AddressFamily: "IPv4",
      MaxEntries: 1000,
      Entries: [{ Cidr: "10.0.0.0/24" }],
    });
    const PrefixListId = list?.PrefixListId ?? "";
    const change = { PrefixListId, CurrentVersion: 1 };
    for (
      const wrong of [
        { AddEntries: [{ Cidr: "10.1.0.0/16" }, { Cidr: "10.1.2.3/16" }] },
        { AddEntries: [{ Cidr: "10.1.0.0/16", Description: "x".repeat(256) }] },
        { PrefixListName: "com.amazonaws.mine" },
      ]
    ) {
      await refused("InvalidParameterValue", "ModifyManagedPrefixList", { ...change, ...wrong });
    }
    const Description = "d".repeat(255);
    const AddEntries = Array.from(
      { length: 999 },
      (_, at) => ({ Cidr: block(at + 1), Description }),
    );
    let version = 1;
    const modify = async (wish: object) => {
      const { PrefixList: now } = await call("ModifyManagedPrefixList", {
        PrefixListId,
        CurrentVersion: version,
        ...wish,
      });
      version = now?.Version ?? 0;
    };
    await modify({ AddEntries });
    for (let round = 0; round < 6; round++) {
      await modify({ AddEntries: [{ Cidr: block(1), Description: `round ${round}` }] });
    }
    assert.equal(version, 8);
    const { Entries: page = [] } = await call("GetManagedPrefixListEntries", {
      PrefixListId,
      MaxResults: 1000,
    });
    assert.equal(page.find((one) => one.Cidr === block(1))?.Description, "round 5");
    await refused("PrefixListVersionNotFound", "GetManagedPrefixListEntries", {
      PrefixListId,
      TargetVersion: 7,
    });
    await modify({ RemoveEntries: AddEntries.slice(2).map(({ Cidr }) => ({ Cidr })) });
    await modify({ MaxEntries: 3 });
    await modify({ RemoveEntries: [{ Cidr: block(2) }] });
    await call("RestoreManagedPrefixListVersion", {
      PrefixListId,
      CurrentVersion: version,
      PreviousVersion: 9,
    });
  });
});
