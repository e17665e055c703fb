/** Security groups, interfaces, elastic addresses and NAT gateways as users call them over HTTPS. */
import assert from "node:assert/strict";
import { startScenario } from "../kit/ec2_scenario.ts";
import { otherAccount, testAccount } from "../kit/gateway.ts";
import { claimInterfaces, releaseInterfaces } from "../../services/vpcd/contract.ts";
import { newId } from "../../services/resources/ids.ts";
import { until } from "../kit/until.ts";
import { filter } from "./one_network.ts";

Deno.test("groups, interfaces and addresses follow EC2's rules over HTTPS", async (t) => {
  await using ec2 = await startScenario();
  const { call, refused, other } = ec2;
  const { Vpc: vpc } = await call("CreateVpc", { CidrBlock: "10.5.0.0/16" });
  const VpcId = vpc?.VpcId ?? "";
  const { Subnet: subnet } = await call("CreateSubnet", { VpcId, CidrBlock: "10.5.0.0/26" });
  const SubnetId = subnet?.SubnetId ?? "";

  let GroupId = "";
  await t.step("security groups and their rules", async () => {
    const made = await call("CreateSecurityGroup", {
      GroupName: "web",
      Description: "the web",
      VpcId,
    });
    GroupId = made.GroupId ?? "";
    assert.ok(made.SecurityGroupArn?.endsWith(GroupId));
    const again = { GroupName: "web", Description: "x", VpcId };
    await refused("InvalidGroup.Duplicate", "CreateSecurityGroup", again);
    await refused("InvalidParameterValue", "CreateSecurityGroup", {
      ...again,
      GroupName: "sg-mine",
    });
    const permission = {
      IpProtocol: "tcp",
      FromPort: 80,
      ToPort: 81,
      IpRanges: [{ CidrIp: "10.0.0.1/8", Description: "inside" }, { CidrIp: "0.0.0.0/0" }],
      UserIdGroupPairs: [{ GroupId }],
    };
    const added = await call("AuthorizeSecurityGroupIngress", {
      GroupId,
      IpPermissions: [permission],
      TagSpecifications: [{
        ResourceType: "security-group-rule",
        Tags: [{ Key: "why", Value: "web" }],
      }],
    });
    assert.deepEqual(added.SecurityGroupRules?.map((one) => one.CidrIpv4 ?? "group"), [
      "10.0.0.0/8",
      "0.0.0.0/0",
      "group",
    ]);
    await refused("InvalidPermission.Duplicate", "AuthorizeSecurityGroupIngress", {
      GroupId,
      IpPermissions: [permission],
    });
    await refused("InvalidParameterValue", "AuthorizeSecurityGroupIngress", {
      GroupId,
      IpProtocol: "tcp",
      FromPort: 90,
      ToPort: 80,
      CidrIp: "1.0.0.0/8",
    });
    await refused("InvalidGroup.NotFound", "AuthorizeSecurityGroupIngress", {
      GroupId: "sg-0123456789abcdef0",
      IpProtocol: "tcp",
      FromPort: 80,
      ToPort: 80,
      CidrIp: "1.0.0.0/8",
    });
    await call("AuthorizeSecurityGroupEgress", {
      GroupId,
      IpPermissions: [{
        IpProtocol: "udp",
        FromPort: 53,
        ToPort: 53,
        IpRanges: [{ CidrIp: "10.5.0.2/32" }],
      }],
    });
    const { SecurityGroups: [shown] = [] } = await call("DescribeSecurityGroups", {
      Filters: filter("ip-permission.cidr", "10.0.0.0/8"),
    });
    assert.equal(shown?.GroupId, GroupId);
    assert.equal(shown?.IpPermissions?.[0]?.IpRanges?.length, 2);
    assert.equal(shown?.IpPermissionsEgress?.length, 2);
    const { SecurityGroupRules: rules = [] } = await call("DescribeSecurityGroupRules", {
      Filters: [...filter("group-id", GroupId), ...filter("tag:why", "web")],
    });
    assert.equal(rules.length, 3);
    const wide = rules.find((one) => one.CidrIpv4 === "0.0.0.0/0")?.SecurityGroupRuleId ?? "";
    await call("ModifySecurityGroupRules", {
      GroupId,
      SecurityGroupRules: [{
        SecurityGroupRuleId: wide,
        SecurityGroupRule: {
          IpProtocol: "tcp",
          FromPort: 443,
          ToPort: 443,
          CidrIpv4: "1.2.3.4/32",
        },
      }],
    });
    await call("UpdateSecurityGroupRuleDescriptionsIngress", {
      GroupId,
      SecurityGroupRuleDescriptions: [{ SecurityGroupRuleId: wide, Description: "one host" }],
    });
    await call("UpdateSecurityGroupRuleDescriptionsEgress", {
      GroupId,
      IpPermissions: [{
        IpProtocol: "udp",
        FromPort: 53,
        ToPort: 53,
        IpRanges: [{ CidrIp: "10.5.0.2/32", Description: "names" }],
      }],
    });
    const { SecurityGroupRules: [changed] = [] } = await call("DescribeSecurityGroupRules", {
      SecurityGroupRuleIds: [wide],
    });
    assert.deepEqual([changed?.CidrIpv4, changed?.FromPort, changed?.Description], [
      "1.2.3.4/32",
      443,
      "one host",
    ]);
    await call("RevokeSecurityGroupIngress", { GroupId, SecurityGroupRuleIds: [wide] });
    await refused("InvalidSecurityGroupRuleId.NotFound", "RevokeSecurityGroupIngress", {
      GroupId,
      SecurityGroupRuleIds: [wide],
    });
    await refused("InvalidPermission.NotFound", "RevokeSecurityGroupEgress", {
      GroupId,
      IpPermissions: [{
        IpProtocol: "udp",
        FromPort: 54,
        ToPort: 54,
        IpRanges: [{ CidrIp: "10.5.0.2/32" }],
      }],
    });
    await call("RevokeSecurityGroupEgress", {
      GroupId,
      IpPermissions: [{
        IpProtocol: "udp",
        FromPort: 53,
        ToPort: 53,
        IpRanges: [{ CidrIp: "10.5.0.2/32" }],
      }],
    });
    const second = await call("CreateSecurityGroup", {
      GroupName: "db",
      Description: "the db",
      VpcId,
    });
    await call("AuthorizeSecurityGroupIngress", {
      GroupId: second.GroupId,
      IpPermissions: [{ IpProtocol: "-1", UserIdGroupPairs: [{ GroupId }] }],
    });
    await refused("DependencyViolation", "DeleteSecurityGroup", { GroupId });
    await call("DeleteSecurityGroup", { GroupId: second.GroupId });
    const { SecurityGroups: [standard] = [] } = await call("DescribeSecurityGroups", {
      Filters: [...filter("group-name", "default"), ...filter("vpc-id", VpcId)],
    });
    await refused("CannotDelete", "DeleteSecurityGroup", { GroupId: standard?.GroupId });
    await other.refused("InvalidGroup.NotFound", "DeleteSecurityGroup", { GroupId });
  });

  await t.step("groups in other VPCs", async () => {
    const { Vpc: second } = await call("CreateVpc", { CidrBlock: "10.6.0.0/16" });
    const there = second?.VpcId ?? "";
    assert.equal(
      (await call("AssociateSecurityGroupVpc", { GroupId, VpcId: there })).State,
      "associated",
    );
    const { SecurityGroupVpcAssociations: [found] = [] } = await call(
      "DescribeSecurityGroupVpcAssociations",
      { Filters: filter("vpc-id", there) },
    );
    assert.deepEqual([found?.GroupId, found?.VpcId], [GroupId, there]);
    const { SecurityGroupForVpcs: usable = [] } = await call("GetSecurityGroupsForVpc", {
      VpcId: there,
    });
    assert.deepEqual(usable.map((one) => one.GroupName).sort(), ["default", "web"]);
    const { GroupId: guest } = await call("CreateSecurityGroup", {
      GroupName: "guest",
      Description: "elsewhere",
      VpcId: there,
    });
    const { VpcPeeringConnection: link } = await call("CreateVpcPeeringConnection", {
      VpcId,
      PeerVpcId: there,
    });
    await call("AuthorizeSecurityGroupIngress", {
      GroupId: guest,
      IpPermissions: [{ IpProtocol: "-1", UserIdGroupPairs: [{ GroupId }] }],
    });
    const { SecurityGroupReferenceSet: [reference] = [] } = await call(
      "DescribeSecurityGroupReferences",
      { GroupId: [GroupId] },
    );
    assert.equal(reference?.ReferencingVpcId, there);
    assert.equal(reference?.VpcPeeringConnectionId, link?.VpcPeeringConnectionId);
    assert.deepEqual(
      (await call("DescribeStaleSecurityGroups", { VpcId: there })).StaleSecurityGroupSet,
      [],
    );
    await call("DisassociateSecurityGroupVpc", { GroupId, VpcId: there });
    await refused("InvalidVpcSecurityGroupAssociation.NotFound", "DisassociateSecurityGroupVpc", {
      GroupId,
      VpcId: there,
    });
  });

  const instance = newId("i-");
  let eni = "";
  await t.step("interfaces and their addresses", async () => {
    const { NetworkInterface: made } = await call("CreateNetworkInterface", {
      SubnetId,
      Groups: [GroupId],
      PrivateIpAddress: "10.5.0.10",
      Description: "one",
      ClientToken: "eni-1",
    });
    eni = made?.NetworkInterfaceId ?? "";
    assert.equal(made?.Groups?.[0]?.GroupName, "web");
    const busy = { SubnetId, PrivateIpAddress: "10.5.0.10" };
    await refused("InvalidIPAddress.InUse", "CreateNetworkInterface", busy);
    await refused("InvalidParameterValue", "CreateNetworkInterface", {
      SubnetId,
      PrivateIpAddress: "10.5.0.2",
    });
    await refused("InvalidParameterValue", "CreateNetworkInterface", {
      SubnetId,
      PrivateIpAddress: "10.9.0.2",
    });
    await refused("InsufficientFreeAddressesInSubnet", "CreateNetworkInterface", {
      SubnetId,
      SecondaryPrivateIpAddressCount: 60,
    });
    await refused("DependencyViolation", "DeleteSubnet", { SubnetId });
    await refused("DependencyViolation", "DeleteSecurityGroup", { GroupId });
    const { Subnets: [now] = [] } = await call("DescribeSubnets", { SubnetIds: [SubnetId] });
    assert.equal(now?.AvailableIpAddressCount, 58);
    const assigned = await call("AssignPrivateIpAddresses", {
      NetworkInterfaceId: eni,
      PrivateIpAddresses: ["10.5.0.20"],
    });
    assert.deepEqual(assigned.AssignedPrivateIpAddresses, [{ PrivateIpAddress: "10.5.0.20" }]);
    await call("AssignPrivateIpAddresses", {
      NetworkInterfaceId: eni,
      SecondaryPrivateIpAddressCount: 2,
    });
    await call("UnassignPrivateIpAddresses", {
      NetworkInterfaceId: eni,
      PrivateIpAddresses: ["10.5.0.20"],
    });
    await refused("InvalidParameterValue", "UnassignPrivateIpAddresses", {
      NetworkInterfaceId: eni,
      PrivateIpAddresses: ["10.5.0.10"],
    });
    const { NetworkInterfaces: [shown] = [] } = await call("DescribeNetworkInterfaces", {
      Filters: filter("addresses.private-ip-address", "10.5.0.10"),
    });
    assert.equal(shown?.PrivateIpAddresses?.length, 3);
    await call("ModifyNetworkInterfaceAttribute", {
      NetworkInterfaceId: eni,
      Description: { Value: "two" },
    });
    await call("ModifyNetworkInterfaceAttribute", {
      NetworkInterfaceId: eni,
      SourceDestCheck: { Value: false },
    });
    const attribute = await call("DescribeNetworkInterfaceAttribute", {
      NetworkInterfaceId: eni,
      Attribute: "sourceDestCheck",
    });
    assert.equal(attribute.SourceDestCheck?.Value, false);
    await call("ResetNetworkInterfaceAttribute", {
      NetworkInterfaceId: eni,
      SourceDestCheck: "true",
    });
    const six = (await call("AssociateVpcCidrBlock", { VpcId, AmazonProvidedIpv6CidrBlock: true }))
      .Ipv6CidrBlockAssociation?.Ipv6CidrBlock;
    await call("AssociateSubnetCidrBlock", { SubnetId, Ipv6CidrBlock: six?.replace("/56", "/64") });
    const { AssignedIpv6Addresses: [address = ""] = [] } = await call("AssignIpv6Addresses", {
      NetworkInterfaceId: eni,
      Ipv6AddressCount: 1,
    });
    await call("UnassignIpv6Addresses", { NetworkInterfaceId: eni, Ipv6Addresses: [address] });
    const { InterfacePermission: permission } = await call("CreateNetworkInterfacePermission", {
      NetworkInterfaceId: eni,
      AwsAccountId: otherAccount,
      Permission: "INSTANCE-ATTACH",
    });
    const { NetworkInterfacePermissions: [granted] = [] } = await call(
      "DescribeNetworkInterfacePermissions",
      {},
    );
    assert.equal(granted?.AwsAccountId, otherAccount);
    await call("DeleteNetworkInterfacePermission", {
      NetworkInterfacePermissionId: permission?.NetworkInterfacePermissionId,
    });
  });

  await t.step(
    "a claim that was cut off between two interfaces is completed by the next",
    async () => {
      const instance_id = newId("i-");
      const wishes = [0, 1, 2].map((device_index) => ({
        device_index,
        delete_on_termination: true,
        subnet_id: SubnetId,
      }));
      const claim = { account_id: testAccount, instance_id, wishes };
      const ask = async (count: number) =>
        (await ec2.stand.bus.ask(claimInterfaces, { ...claim, wishes: wishes.slice(0, count) }))
          .map((one) => [one.device_index, one.interface_id]);
      const [primary] = await ask(1);
      const all = await ask(3);
      assert.deepEqual(all.map(([index]) => index), [0, 1, 2]);
      assert.deepEqual(all[0], primary);
      assert.deepEqual(await ask(3), all);
      await ec2.stand.bus.ask(releaseInterfaces, claim);
    },
  );

  await t.step("interfaces go to instances and come back", async () => {
    const wish = { device_index: 0, delete_on_termination: true, subnet_id: SubnetId };
    const claim = { account_id: testAccount, instance_id: instance, wishes: [wish] };
    const [primary] = await ec2.stand.bus.ask(claimInterfaces, claim);
    const [again] = await ec2.stand.bus.ask(claimInterfaces, claim);
    assert.equal(primary?.interface_id, again?.interface_id);
    await refused("InvalidInstanceID.NotFound", "AttachNetworkInterface", {
      NetworkInterfaceId: eni,
      InstanceId: newId("i-"),
      DeviceIndex: 1,
    });
    const { AttachmentId } = await call("AttachNetworkInterface", {
      NetworkInterfaceId: eni,
      InstanceId: instance,
      DeviceIndex: 1,
    });
    await refused("InvalidParameterValue", "DeleteNetworkInterface", { NetworkInterfaceId: eni });
    await call("ModifyNetworkInterfaceAttribute", {
      NetworkInterfaceId: eni,
      Attachment: { AttachmentId, DeleteOnTermination: false },
    });
    await call("DetachNetworkInterface", { AttachmentId });
    await refused("InvalidAttachmentID.NotFound", "DetachNetworkInterface", { AttachmentId });
    await refused("OperationNotPermitted", "DetachNetworkInterface", {
      AttachmentId: primary?.attachment_id,
    });
    await call("AttachNetworkInterface", {
      NetworkInterfaceId: eni,
      InstanceId: instance,
      DeviceIndex: 1,
    });
    await ec2.stand.bus.ask(releaseInterfaces, { account_id: testAccount, instance_id: instance });
    const { NetworkInterfaces: left = [] } = await call("DescribeNetworkInterfaces", {});
    assert.deepEqual(left.map((one) => [one.NetworkInterfaceId, one.Status]), [[eni, "available"]]);
  });

  await t.step("of two accounts that ask for one address at once, one gets it", async () => {
    for (let n = 1; n <= 5; n++) {
      const Address = `100.64.77.${n}`;
      const asked = await Promise.allSettled([
        call("AllocateAddress", { Domain: "vpc", Address }),
        other.call("AllocateAddress", { Domain: "vpc", Address }),
      ]);
      assert.equal(asked.filter((one) => one.status === "fulfilled").length, 1, Address);
      const [mine, theirs] = asked;
      if (mine.status === "fulfilled") {
        await call("ReleaseAddress", { AllocationId: mine.value.AllocationId });
      }
      if (theirs.status === "fulfilled") {
        await other.call("ReleaseAddress", { AllocationId: theirs.value.AllocationId });
      }
    }
  });

  await t.step("elastic addresses", async () => {
    const made = await call("AllocateAddress", { Domain: "vpc" });
    const AllocationId = made.AllocationId ?? "";
    const { AssociationId } = await call("AssociateAddress", {
      AllocationId,
      NetworkInterfaceId: eni,
    });
    const { NetworkInterfaces: [shown] = [] } = await call("DescribeNetworkInterfaces", {
      Filters: filter("association.public-ip", made.PublicIp ?? ""),
    });
    assert.equal(shown?.Association?.AllocationId, AllocationId);
    const { Addresses: [listed] = [] } = await call("DescribeAddresses", {
      PublicIps: [made.PublicIp ?? ""],
    });
    assert.equal(listed?.NetworkInterfaceId, eni);
    await refused("InvalidIPAddress.InUse", "ReleaseAddress", { AllocationId });
    await refused("Resource.AlreadyAssociated", "AssociateAddress", {
      AllocationId,
      NetworkInterfaceId: eni,
      PrivateIpAddress: "10.5.0.10",
      AllowReassociation: false,
    });
    await call("ModifyAddressAttribute", { AllocationId, DomainName: "mail.example.com" });
    const { Addresses: [attribute] = [] } = await call("DescribeAddressesAttribute", {
      AllocationIds: [AllocationId],
      Attribute: "domain-name",
    });
    assert.equal(attribute?.PtrRecord, "mail.example.com.");
    await call("ResetAddressAttribute", { AllocationId, Attribute: "domain-name" });
    await call("DisassociateAddress", { AssociationId });
    await refused("InvalidAssociationID.NotFound", "DisassociateAddress", { AssociationId });

    await call("EnableAddressTransfer", { AllocationId, TransferAccountId: otherAccount });
    await call("DisableAddressTransfer", { AllocationId });
    await refused("AddressTransferNotFound", "DisableAddressTransfer", { AllocationId });
    await call("EnableAddressTransfer", { AllocationId, TransferAccountId: otherAccount });
    assert.equal((await call("DescribeAddressTransfers", {})).AddressTransfers?.length, 1);
    await refused("InvalidTransfer.AddressNotFound", "AcceptAddressTransfer", {
      Address: made.PublicIp,
    });
    await other.call("AcceptAddressTransfer", { Address: made.PublicIp });
    await refused("InvalidAllocationID.NotFound", "ReleaseAddress", { AllocationId });
    const { Addresses: [theirs] = [] } = await other.call("DescribeAddresses", {});
    assert.equal(theirs?.PublicIp, made.PublicIp);
    await other.call("ReleaseAddress", { AllocationId: theirs?.AllocationId });

    const { PoolId } = await call("CreatePublicIpv4Pool", {});
    const { PoolAddressRange: range } = await call("ProvisionPublicIpv4PoolCidr", {
      IpamPoolId: "ipam-pool-1",
      PoolId,
      NetmaskLength: 30,
    });
    assert.equal(range?.AddressCount, 4);
    const own = await call("AllocateAddress", { Domain: "vpc", PublicIpv4Pool: PoolId });
    const { PublicIpv4Pools: [pool] = [] } = await call("DescribePublicIpv4Pools", {});
    assert.equal(pool?.TotalAvailableAddressCount, 3);
    const Cidr = `${range?.FirstAddress}/30`;
    await refused("InvalidIPAddress.InUse", "DeprovisionPublicIpv4PoolCidr", { PoolId, Cidr });
    await refused("DependencyViolation", "DeletePublicIpv4Pool", { PoolId });
    await call("ReleaseAddress", { AllocationId: own.AllocationId });
    await call("DeprovisionPublicIpv4PoolCidr", { PoolId, Cidr });
    await call("DeletePublicIpv4Pool", { PoolId });
  });

  await t.step("NAT gateways", async () => {
    const { AllocationId } = await call("AllocateAddress", {});
    await refused("MissingParameter", "CreateNatGateway", { SubnetId });
    await refused("InvalidParameterCombination", "CreateNatGateway", {
      SubnetId,
      AllocationId,
      ConnectivityType: "private",
    });
    const { NatGateway: made } = await call("CreateNatGateway", { SubnetId, AllocationId });
    const NatGatewayId = made?.NatGatewayId ?? "";
    const isIn = (state: string) => async () =>
      (await call("DescribeNatGateways", { NatGatewayIds: [NatGatewayId] })).NatGateways?.[0]
        ?.State === state;
    await until("available", isIn("available"));
    const second = await call("AllocateAddress", {});
    const more = await call("AssociateNatGatewayAddress", {
      NatGatewayId,
      AllocationIds: [second.AllocationId ?? ""],
    });
    assert.equal(more.NatGatewayAddresses?.length, 2);
    await call("DisassociateNatGatewayAddress", {
      NatGatewayId,
      AssociationIds: [more.NatGatewayAddresses?.[1]?.AssociationId ?? ""],
    });
    await refused("InvalidParameterValue", "AssignPrivateNatGatewayAddress", { NatGatewayId });
    const { NatGateway: inner } = await call("CreateNatGateway", {
      SubnetId,
      ConnectivityType: "private",
    });
    const { NatGatewayAddresses: addresses = [] } = await call("AssignPrivateNatGatewayAddress", {
      NatGatewayId: inner?.NatGatewayId,
      PrivateIpAddressCount: 2,
    });
    assert.equal(addresses.length, 3);
    await call("UnassignPrivateNatGatewayAddress", {
      NatGatewayId: inner?.NatGatewayId,
      PrivateIpAddresses: [addresses[2]?.PrivateIp ?? ""],
    });
    await refused("DependencyViolation", "DeleteSubnet", { SubnetId });
    await call("DeleteNatGateway", { NatGatewayId });
    await call("DeleteNatGateway", { NatGatewayId: inner?.NatGatewayId });
    await until("deleted", isIn("deleted"));
    await call("ReleaseAddress", { AllocationId });
    await call("DeleteNetworkInterface", { NetworkInterfaceId: eni });
    await refused("InvalidNetworkInterfaceID.NotFound", "DeleteNetworkInterface", {
      NetworkInterfaceId: eni,
    });
    await call("DeleteSubnet", { SubnetId });
  });
});
