/** Values that no network has are refused, before they are in a record. */
import assert from "node:assert/strict";
import { startScenario } from "../kit/ec2_scenario.ts";
import { filter, oneNetwork } from "./one_network.ts";

Deno.test("values that no network has are refused", async (t) => {
  await using ec2 = await startScenario();
  const { call, refused } = ec2;
  const { VpcId, SubnetId } = await oneNetwork(ec2);

  await t.step("IPv6 blocks of VPCs", async () => {
    for (const Ipv6CidrBlock of ["2001:db8::/32", "2001:db8::/57", "2001:db8::/64", "::/0", "x"]) {
      await refused("InvalidParameterValue", "AssociateVpcCidrBlock", { VpcId, Ipv6CidrBlock });
    }
    await refused("InvalidParameterCombination", "AssociateVpcCidrBlock", {
      VpcId,
      CidrBlock: "10.6.0.0/16",
      AmazonProvidedIpv6CidrBlock: true,
    });
    await call("AssociateVpcCidrBlock", { VpcId, Ipv6CidrBlock: "2001:db8:0:100::/56" });
    await refused("InvalidVpc.Range", "AssociateVpcCidrBlock", {
      VpcId,
      Ipv6CidrBlock: "2001:db8::/48",
    });
    const { Vpc: own } = await call("CreateVpc", {
      CidrBlock: "10.7.0.0/16",
      Ipv6CidrBlock: "2001:db8:1::/56",
    });
    assert.equal(own?.Ipv6CidrBlockAssociationSet?.[0]?.Ipv6CidrBlock, "2001:db8:1::/56");
    await refused("InvalidParameterValue", "CreateVpc", {
      CidrBlock: "10.7.0.0/16",
      Ipv6CidrBlock: "2001:db8:1::/65",
    });
  });

  await t.step("ports and types of ACLs", async () => {
    const { NetworkAcl: acl } = await call("CreateNetworkAcl", { VpcId });
    const entry = {
      NetworkAclId: acl?.NetworkAclId,
      RuleNumber: 100,
      RuleAction: "allow" as const,
      Egress: false,
      CidrBlock: "0.0.0.0/0",
    };
    for (
      const PortRange of [{ From: -1, To: 80 }, { From: 80, To: 65_536 }, { From: 81, To: 80 }]
    ) {
      await refused("InvalidParameterValue", "CreateNetworkAclEntry", {
        ...entry,
        Protocol: "6",
        PortRange,
      });
    }
    for (const IcmpTypeCode of [{ Type: 256, Code: -1 }, { Type: 8, Code: 300 }]) {
      await refused("InvalidParameterValue", "CreateNetworkAclEntry", {
        ...entry,
        Protocol: "1",
        IcmpTypeCode,
      });
    }
    await call("CreateNetworkAclEntry", {
      ...entry,
      Protocol: "1",
      IcmpTypeCode: { Type: -1, Code: -1 },
    });
    await call("CreateNetworkAclEntry", {
      ...entry,
      RuleNumber: 101,
      Protocol: "17",
      PortRange: { From: 0, To: 65_535 },
    });
    const { NetworkAcls: found = [] } = await call("DescribeNetworkAcls", {
      Filters: filter("entry.port-range.to", "65535"),
    });
    assert.deepEqual(found.map((one) => one.NetworkAclId), [acl?.NetworkAclId]);
  });

  await t.step("texts that are too long", async () => {
    await refused("InvalidParameterValue", "CreateNetworkInterface", {
      SubnetId,
      Description: "d".repeat(256),
    });
    const { NetworkInterface: eni } = await call("CreateNetworkInterface", {
      SubnetId,
      Description: "d".repeat(255),
    });
    await refused("InvalidParameterValue", "ModifyNetworkInterfaceAttribute", {
      NetworkInterfaceId: eni?.NetworkInterfaceId,
      Description: { Value: "d".repeat(256) },
    });
    await refused("InvalidParameterValue", "CreateDhcpOptions", {
      DhcpConfigurations: [{ Key: "domain-name", Values: ["a".repeat(256)] }],
    });
  });

  await t.step("more primary addresses than one, and no group at all", async () => {
    const [one, other] = ["10.5.0.40", "10.5.0.41"].map((PrivateIpAddress) => ({
      PrivateIpAddress,
      Primary: true,
    }));
    await refused("InvalidParameterCombination", "CreateNetworkInterface", {
      SubnetId,
      PrivateIpAddresses: [one!, other!],
    });
    await refused("InvalidParameterCombination", "CreateNetworkInterface", {
      SubnetId,
      PrivateIpAddress: "10.5.0.42",
      PrivateIpAddresses: [one!],
    });
    await refused("MissingParameter", "DeleteSecurityGroup", {});
  });

  await t.step("a gateway that is not the VPC's", async () => {
    const { InternetGateway: gateway } = await call("CreateInternetGateway", {});
    const { RouteTable: table } = await call("CreateRouteTable", { VpcId });
    const wish = {
      RouteTableId: table?.RouteTableId,
      GatewayId: gateway?.InternetGatewayId,
    };
    await refused("InvalidParameterValue", "AssociateRouteTable", wish);
    await call("AttachInternetGateway", { InternetGatewayId: wish.GatewayId, VpcId });
    await call("AssociateRouteTable", wish);
  });

  await t.step("the cloud's own prefix list is found among the managed ones", async () => {
    const { PrefixList: own } = await call("CreateManagedPrefixList", {
      PrefixListName: "offices",
      AddressFamily: "IPv4",
      MaxEntries: 1,
    });
    const named = async (...names: string[]) =>
      (await call("DescribeManagedPrefixLists", { Filters: filter("prefix-list-name", ...names) }))
        .PrefixLists?.map((one) => one.PrefixListId);
    const { PrefixLists: [s3] = [] } = await call("DescribePrefixLists", {});
    assert.deepEqual(await named("com.amazonaws.ap-southeast-2.s3"), [s3?.PrefixListId]);
    assert.deepEqual(await named("offices"), [own?.PrefixListId]);
    assert.deepEqual(await named("none"), []);
    const { PrefixLists: both = [] } = await call("DescribeManagedPrefixLists", {
      PrefixListIds: [s3?.PrefixListId ?? "", own?.PrefixListId ?? ""],
    });
    assert.deepEqual(both.map((one) => one.OwnerId === "AWS").sort(), [false, true]);
    assert.deepEqual(
      (await call("GetManagedPrefixListEntries", { PrefixListId: s3?.PrefixListId })).Entries
        ?.map((one) => one.Cidr),
      s3?.Cidrs,
    );
    await refused("InvalidPrefixListID.NotFound", "DeleteManagedPrefixList", {
      PrefixListId: s3?.PrefixListId,
    });
  });
});
