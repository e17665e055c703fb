/** What is deleted leaves nothing behind, and what is in use is not deleted. */
import assert from "node:assert/strict";
import { startScenario } from "../kit/ec2_scenario.ts";
import { testAccount } from "../kit/gateway.ts";
import { filter } from "./one_network.ts";

Deno.test("what is deleted leaves nothing behind, and what is in use stays", async (t) => {
  await using ec2 = await startScenario();
  const { call, refused } = ec2;

  await t.step("a VPC takes the rules of its default group along", async () => {
    await call("DescribeVpcs", {});
    const before = new Set([...ec2.vpcd.network.records.table.rows()].map((row) => row.key));
    const { Vpc: vpc } = await call("CreateVpc", { CidrBlock: "10.7.0.0/16" });
    const VpcId = vpc?.VpcId ?? "";
    const { SecurityGroups: [group] = [] } = await call("DescribeSecurityGroups", {
      Filters: filter("vpc-id", VpcId),
    });
    const { SecurityGroupRules: rules = [] } = await call("DescribeSecurityGroupRules", {
      Filters: filter("group-id", group?.GroupId ?? ""),
    });
    assert.deepEqual(rules.map((one) => [one.FromPort, one.ToPort]), [[-1, -1], [-1, -1]]);
    await call("DeleteVpc", { VpcId });
    assert.deepEqual(
      [...ec2.vpcd.network.records.table.rows()].map((row) => row.key)
        .filter((key) => key.startsWith(testAccount) && !before.has(key)),
      [],
    );
  });

  await t.step("a VPC stays whose default group is named by a rule elsewhere", async () => {
    const { Vpc: one } = await call("CreateVpc", { CidrBlock: "10.8.0.0/16" });
    const { Vpc: other } = await call("CreateVpc", { CidrBlock: "10.9.0.0/16" });
    const { SecurityGroups: [named] = [] } = await call("DescribeSecurityGroups", {
      Filters: filter("vpc-id", one?.VpcId ?? ""),
    });
    const { GroupId } = await call("CreateSecurityGroup", {
      GroupName: "guests",
      Description: "of the other VPC",
      VpcId: other?.VpcId,
    });
    const IpPermissions = [{
      IpProtocol: "-1",
      UserIdGroupPairs: [{ GroupId: named?.GroupId }],
    }];
    await call("AuthorizeSecurityGroupIngress", { GroupId, IpPermissions });
    await refused("DependencyViolation", "DeleteVpc", { VpcId: one?.VpcId });
    await call("RevokeSecurityGroupIngress", { GroupId, IpPermissions });
    await call("AssociateSecurityGroupVpc", { GroupId, VpcId: one?.VpcId });
    await call("DeleteVpc", { VpcId: one?.VpcId });
    const { SecurityGroupVpcAssociations: left } = await call(
      "DescribeSecurityGroupVpcAssociations",
      {},
    );
    assert.deepEqual(left, []);
  });

  await t.step("an IPv6 block stays with a VPC and a subnet that use it", async () => {
    const { Vpc: vpc } = await call("CreateVpc", {
      CidrBlock: "10.10.0.0/16",
      AmazonProvidedIpv6CidrBlock: true,
    });
    const VpcId = vpc?.VpcId ?? "";
    const whole = vpc?.Ipv6CidrBlockAssociationSet?.[0];
    const Ipv6CidrBlock = whole?.Ipv6CidrBlock?.replace("/56", "/64");
    const { Subnet: subnet } = await call("CreateSubnet", {
      VpcId,
      CidrBlock: "10.10.0.0/24",
      Ipv6CidrBlock,
    });
    const SubnetId = subnet?.SubnetId ?? "";
    await refused(
      "InvalidCidrBlock.InUse",
      "DisassociateVpcCidrBlock",
      { AssociationId: whole?.AssociationId },
      `The vpc ${VpcId} currently has a subnet within CIDR block ${whole?.Ipv6CidrBlock}`,
    );
    const AssociationId = subnet?.Ipv6CidrBlockAssociationSet?.[0]?.AssociationId;
    await call("ModifySubnetAttribute", { SubnetId, AssignIpv6AddressOnCreation: { Value: true } });
    await refused(
      "InvalidCidrBlock.InUse",
      "DisassociateSubnetCidrBlock",
      { AssociationId },
      `The subnet IPv6 CIDR block with association ID ${AssociationId} may not be disassociated, because its subnet has assign-ipv6-address-on-creation set to true.`,
    );
    await call("ModifySubnetAttribute", {
      SubnetId,
      AssignIpv6AddressOnCreation: { Value: false },
    });
    const { NetworkInterface: eni } = await call("CreateNetworkInterface", {
      SubnetId,
      Ipv6AddressCount: 1,
    });
    await refused("InvalidCidrBlock.InUse", "DisassociateSubnetCidrBlock", { AssociationId });
    await call("DeleteNetworkInterface", { NetworkInterfaceId: eni?.NetworkInterfaceId });
    await call("DisassociateSubnetCidrBlock", { AssociationId });
    await call("DisassociateVpcCidrBlock", { AssociationId: whole?.AssociationId });
  });
});
