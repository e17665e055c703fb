/** VPCs, subnets, route tables, gateways, ACLs and DHCP options as users call them over HTTPS. */
import assert from "node:assert/strict";
import { startScenario } from "../kit/ec2_scenario.ts";
import { testAccount } from "../kit/gateway.ts";
import { until } from "../kit/until.ts";
import { filter } from "./one_network.ts";

Deno.test("VPCs and what lies in them follow EC2's rules over HTTPS", async (t) => {
  await using ec2 = await startScenario();
  const { call, refused, other } = ec2;

  await t.step("every account has a default network of its own", async () => {
    const { Vpcs: [mine] = [] } = await call("DescribeVpcs", {
      Filters: filter("is-default", "true"),
    });
    const { Vpcs: [theirs] = [] } = await other.call("DescribeVpcs", {});
    assert.equal(mine?.CidrBlock, "172.31.0.0/16");
    assert.equal(mine?.OwnerId, testAccount);
    assert.notEqual(mine?.VpcId, theirs?.VpcId);
    const { Subnets: [subnet] = [] } = await call("DescribeSubnets", {});
    assert.equal(subnet?.DefaultForAz, true);
    assert.equal(subnet?.AvailableIpAddressCount, 4091);
    const { RouteTables: [table] = [] } = await call("DescribeRouteTables", {});
    assert.deepEqual(
      table?.Routes?.map((one) => one.DestinationCidrBlock),
      ["172.31.0.0/16", "0.0.0.0/0"],
    );
    await refused("DefaultVpcAlreadyExists", "CreateDefaultVpc", {});
    await refused("DefaultSubnetAlreadyExistsInAvailabilityZone", "CreateDefaultSubnet", {
      AvailabilityZone: "ap-southeast-2a",
    });
    // What belongs to another account is not there.
    await other.refused("InvalidVpcID.NotFound", "DescribeVpcs", { VpcIds: [mine?.VpcId ?? ""] });
    await other.refused("InvalidVpcID.NotFound", "DeleteVpc", { VpcId: mine?.VpcId });
  });

  await t.step("the default VPC goes with its parts and comes back when asked for", async () => {
    const { Vpcs: [mine] = [] } = await call("DescribeVpcs", {});
    const VpcId = mine?.VpcId ?? "";
    await refused("DependencyViolation", "DeleteVpc", { VpcId });
    const { Subnets: [subnet] = [] } = await call("DescribeSubnets", {});
    await call("DeleteSubnet", { SubnetId: subnet?.SubnetId });
    const { InternetGateways: [gateway] = [] } = await call("DescribeInternetGateways", {});
    const InternetGatewayId = gateway?.InternetGatewayId ?? "";
    await refused("DependencyViolation", "DeleteInternetGateway", { InternetGatewayId });
    await call("DetachInternetGateway", { InternetGatewayId, VpcId });
    await call("DeleteInternetGateway", { InternetGatewayId });
    await call("DeleteVpc", { VpcId });
    assert.deepEqual((await call("DescribeVpcs", {})).Vpcs, []);
    assert.deepEqual((await call("DescribeRouteTables", {})).RouteTables, []);
    assert.deepEqual((await call("DescribeSecurityGroups", {})).SecurityGroups, []);
    await refused("DefaultVpcDoesNotExist", "CreateDefaultSubnet", {
      AvailabilityZone: "ap-southeast-2a",
    });
    const { Vpc: made } = await call("CreateDefaultVpc", {});
    assert.equal(made?.IsDefault, true);
    const { Subnets: [again] = [] } = await call("DescribeSubnets", {});
    await call("DeleteSubnet", { SubnetId: again?.SubnetId });
    const { Subnet: third } = await call("CreateDefaultSubnet", {
      AvailabilityZone: "ap-southeast-2a",
    });
    assert.equal(third?.CidrBlock, "172.31.0.0/20");
  });

  let VpcId = "";
  await t.step("a VPC's blocks, attributes and tags", async () => {
    await refused("InvalidVpc.Range", "CreateVpc", { CidrBlock: "10.0.0.0/8" });
    await refused("InvalidParameterValue", "CreateVpc", { CidrBlock: "10.0.0/16" });
    await refused("MissingParameter", "CreateVpc", {});
    const { Vpc: made } = await call("CreateVpc", {
      CidrBlock: "10.1.2.3/16",
      AmazonProvidedIpv6CidrBlock: true,
      TagSpecifications: [{ ResourceType: "vpc", Tags: [{ Key: "Name", Value: "main" }] }],
    });
    VpcId = made?.VpcId ?? "";
    assert.equal(made?.CidrBlock, "10.1.0.0/16");
    assert.equal(made?.Ipv6CidrBlockAssociationSet?.length, 1);
    await until("available", async () => {
      const { Vpcs: [one] = [] } = await call("DescribeVpcs", { VpcIds: [VpcId] });
      return one?.State === "available";
    });
    assert.deepEqual(
      (await call("DescribeVpcs", { Filters: filter("tag:Name", "ma*") })).Vpcs?.map((one) =>
        one.VpcId
      ),
      [VpcId],
    );
    await call("ModifyVpcAttribute", { VpcId, EnableDnsHostnames: { Value: true } });
    const shown = await call("DescribeVpcAttribute", { VpcId, Attribute: "enableDnsHostnames" });
    assert.equal(shown.EnableDnsHostnames?.Value, true);
    await refused("InvalidParameterCombination", "ModifyVpcAttribute", {
      VpcId,
      EnableDnsHostnames: { Value: true },
      EnableDnsSupport: { Value: true },
    });
    await call("ModifyVpcTenancy", { VpcId, InstanceTenancy: "default" });
    await refused("InvalidVpc.Range", "AssociateVpcCidrBlock", { VpcId, CidrBlock: "10.1.4.0/24" });
    const more = await call("AssociateVpcCidrBlock", { VpcId, CidrBlock: "10.2.0.0/16" });
    const { RouteTables: [table] = [] } = await call("DescribeRouteTables", {
      Filters: filter("vpc-id", VpcId),
    });
    assert.ok(table?.Routes?.some((one) => one.DestinationCidrBlock === "10.2.0.0/16"));
    const AssociationId = more.CidrBlockAssociation?.AssociationId;
    await call("DisassociateVpcCidrBlock", { AssociationId });
    await refused("InvalidVpcCidrBlockAssociationID.NotFound", "DisassociateVpcCidrBlock", {
      AssociationId,
    });
    await call("CreateTags", { Resources: [VpcId], Tags: [{ Key: "stage", Value: "test" }] });
    const { Tags = [] } = await call("DescribeTags", { Filters: filter("resource-id", VpcId) });
    assert.deepEqual(Tags.map((one) => `${one.ResourceType} ${one.Key}`), [
      "vpc Name",
      "vpc stage",
    ]);
    await call("DeleteTags", { Resources: [VpcId], Tags: [{ Key: "stage" }] });
    await other.refused("InvalidVpcID.NotFound", "CreateTags", {
      Resources: [VpcId],
      Tags: [{ Key: "a", Value: "b" }],
    });
  });

  let SubnetId = "";
  await t.step("subnets lie in their VPC and not on each other", async () => {
    await refused("InvalidSubnet.Range", "CreateSubnet", { VpcId, CidrBlock: "10.9.0.0/24" });
    await refused("InvalidParameterValue", "CreateSubnet", {
      VpcId,
      CidrBlock: "10.1.9.0/24",
      AvailabilityZone: "eu-west-1a",
    });
    const { Vpcs: [vpc] = [] } = await call("DescribeVpcs", { VpcIds: [VpcId] });
    const six = vpc?.Ipv6CidrBlockAssociationSet?.[0]?.Ipv6CidrBlock?.replace("/56", "/64");
    const { Subnet: made } = await call("CreateSubnet", { VpcId, CidrBlock: "10.1.0.0/24" });
    SubnetId = made?.SubnetId ?? "";
    assert.ok(made?.SubnetArn?.endsWith(SubnetId));
    assert.equal(made?.AvailableIpAddressCount, 251);
    await refused("InvalidSubnet.Conflict", "CreateSubnet", { VpcId, CidrBlock: "10.1.0.128/25" });
    await refused("InvalidVpcID.NotFound", "CreateSubnet", {
      VpcId: "vpc-0123456789abcdef0",
      CidrBlock: "10.1.3.0/24",
    });
    await refused("InvalidVpcID.Malformed", "CreateSubnet", {
      VpcId: "x",
      CidrBlock: "10.1.3.0/24",
    });
    const added = await call("AssociateSubnetCidrBlock", { SubnetId, Ipv6CidrBlock: six });
    await call("ModifySubnetAttribute", { SubnetId, MapPublicIpOnLaunch: { Value: true } });
    await call("ModifySubnetAttribute", { SubnetId, AssignIpv6AddressOnCreation: { Value: true } });
    const { Subnets: [shown] = [] } = await call("DescribeSubnets", {
      Filters: [...filter("vpc-id", VpcId), ...filter("map-public-ip-on-launch", "true")],
    });
    assert.equal(shown?.AssignIpv6AddressOnCreation, true);
    const AssociationId = added.Ipv6CidrBlockAssociation?.AssociationId;
    await refused("InvalidCidrBlock.InUse", "DisassociateSubnetCidrBlock", { AssociationId });
    await call("ModifySubnetAttribute", {
      SubnetId,
      AssignIpv6AddressOnCreation: { Value: false },
    });
    await call("DisassociateSubnetCidrBlock", { AssociationId });
    const { SubnetCidrReservation: kept } = await call("CreateSubnetCidrReservation", {
      SubnetId,
      Cidr: "10.1.0.64/28",
      ReservationType: "prefix",
    });
    await refused("InvalidCidr.InUse", "CreateSubnetCidrReservation", {
      SubnetId,
      Cidr: "10.1.0.64/29",
      ReservationType: "explicit",
    });
    const list = await call("GetSubnetCidrReservations", { SubnetId });
    assert.equal(list.SubnetIpv4CidrReservations?.length, 1);
    await call("DeleteSubnetCidrReservation", {
      SubnetCidrReservationId: kept?.SubnetCidrReservationId,
    });
  });

  await t.step("route tables, associations and routes", async () => {
    const { RouteTable: made } = await call("CreateRouteTable", { VpcId, ClientToken: "table-1" });
    const again = await call("CreateRouteTable", { VpcId, ClientToken: "table-1" });
    const RouteTableId = made?.RouteTableId ?? "";
    assert.equal(again.RouteTable?.RouteTableId, RouteTableId);
    await refused("IdempotentParameterMismatch", "CreateRouteTable", {
      VpcId: (await call("CreateVpc", { CidrBlock: "10.77.0.0/16" })).Vpc?.VpcId,
      ClientToken: "table-1",
    });
    const { AssociationId } = await call("AssociateRouteTable", { RouteTableId, SubnetId });
    await refused("DependencyViolation", "DeleteRouteTable", { RouteTableId });
    const { RouteTable: second } = await call("CreateRouteTable", { VpcId });
    await refused("Resource.AlreadyAssociated", "AssociateRouteTable", {
      RouteTableId: second?.RouteTableId,
      SubnetId,
    });
    const { NewAssociationId } = await call("ReplaceRouteTableAssociation", {
      AssociationId,
      RouteTableId: second?.RouteTableId,
    });
    await call("DisassociateRouteTable", { AssociationId: NewAssociationId });
    await refused("InvalidAssociationID.NotFound", "DisassociateRouteTable", { AssociationId });
    const { RouteTables: [main] = [] } = await call("DescribeRouteTables", {
      Filters: [...filter("vpc-id", VpcId), ...filter("association.main", "true")],
    });
    await refused("InvalidParameterValue", "DisassociateRouteTable", {
      AssociationId: main?.Associations?.[0]?.RouteTableAssociationId,
    });

    const { InternetGateway: gateway } = await call("CreateInternetGateway", {});
    const GatewayId = gateway?.InternetGatewayId;
    const route = { RouteTableId, DestinationCidrBlock: "0.0.0.0/0", GatewayId };
    await refused("InvalidParameterValue", "CreateRoute", route);
    await call("AttachInternetGateway", { InternetGatewayId: GatewayId, VpcId });
    await refused("Resource.AlreadyAssociated", "AttachInternetGateway", {
      InternetGatewayId: GatewayId,
      VpcId,
    });
    await call("CreateRoute", route);
    await refused("RouteAlreadyExists", "CreateRoute", route);
    await refused("InvalidGatewayID.NotFound", "CreateRoute", {
      ...route,
      DestinationCidrBlock: "1.0.0.0/8",
      GatewayId: "igw-0123456789abcdef0",
    });
    await refused("InvalidParameterCombination", "CreateRoute", {
      ...route,
      NatGatewayId: "nat-0123456789abcdef0",
    });
    await refused("MissingParameter", "CreateRoute", { RouteTableId, GatewayId });
    const { EgressOnlyInternetGateway: egress } = await call("CreateEgressOnlyInternetGateway", {
      VpcId,
    });
    const EgressOnlyInternetGatewayId = egress?.EgressOnlyInternetGatewayId;
    await call("CreateRoute", {
      RouteTableId,
      DestinationIpv6CidrBlock: "::/0",
      EgressOnlyInternetGatewayId,
    });
    assert.equal(
      (await call("DescribeEgressOnlyInternetGateways", {
        EgressOnlyInternetGatewayIds: [EgressOnlyInternetGatewayId ?? ""],
      })).EgressOnlyInternetGateways?.[0]?.Attachments?.[0]?.VpcId,
      VpcId,
    );
    await call("ReplaceRoute", {
      RouteTableId,
      DestinationIpv6CidrBlock: "::/0",
      GatewayId,
    });
    await refused("InvalidRoute.NotFound", "ReplaceRoute", {
      RouteTableId,
      DestinationCidrBlock: "9.0.0.0/8",
      GatewayId,
    });
    await call("DeleteRoute", { RouteTableId, DestinationIpv6CidrBlock: "::/0" });
    await refused("InvalidRoute.NotFound", "DeleteRoute", {
      RouteTableId,
      DestinationIpv6CidrBlock: "::/0",
    });
    await refused("InvalidParameterValue", "DeleteRoute", {
      RouteTableId,
      DestinationCidrBlock: "10.1.0.0/16",
    });
    await call("DeleteEgressOnlyInternetGateway", { EgressOnlyInternetGatewayId });
    await call("DeleteRouteTable", { RouteTableId });
    await refused("InvalidRouteTableID.NotFound", "DeleteRouteTable", { RouteTableId });
    const { CarrierGateway: carrier } = await call("CreateCarrierGateway", { VpcId });
    const CarrierGatewayIds = [carrier?.CarrierGatewayId ?? ""];
    await until(
      "the carrier gateway",
      async () =>
        (await call("DescribeCarrierGateways", { CarrierGatewayIds })).CarrierGateways?.[0]
          ?.State ===
          "available",
    );
    await call("DeleteCarrierGateway", { CarrierGatewayId: CarrierGatewayIds[0] });
    await until(
      "its end",
      async () =>
        (await call("DescribeCarrierGateways", { CarrierGatewayIds })).CarrierGateways?.[0]
          ?.State ===
          "deleted",
    );
  });

  await t.step("network ACLs", async () => {
    const { NetworkAcl: made } = await call("CreateNetworkAcl", { VpcId });
    const NetworkAclId = made?.NetworkAclId ?? "";
    const entry = {
      NetworkAclId,
      RuleNumber: 110,
      Protocol: "6",
      RuleAction: "allow" as const,
      Egress: false,
      CidrBlock: "10.0.0.0/8",
      PortRange: { From: 22, To: 22 },
    };
    await call("CreateNetworkAclEntry", entry);
    await refused("NetworkAclEntryAlreadyExists", "CreateNetworkAclEntry", entry);
    await refused("InvalidParameterValue", "CreateNetworkAclEntry", {
      ...entry,
      RuleNumber: 32767,
    });
    await call("ReplaceNetworkAclEntry", { ...entry, RuleAction: "deny" });
    await refused("InvalidNetworkAclEntry.NotFound", "ReplaceNetworkAclEntry", {
      ...entry,
      RuleNumber: 120,
    });
    const { NetworkAcls: [shown] = [] } = await call("DescribeNetworkAcls", {
      Filters: filter("entry.rule-number", "110"),
    });
    assert.equal(shown?.Entries?.find((one) => one.RuleNumber === 110)?.RuleAction, "deny");
    const { NetworkAcls: [standard] = [] } = await call("DescribeNetworkAcls", {
      Filters: filter("association.subnet-id", SubnetId),
    });
    assert.equal(standard?.IsDefault, true);
    const AssociationId = standard?.Associations?.find((one) => one.SubnetId === SubnetId)
      ?.NetworkAclAssociationId;
    await call("ReplaceNetworkAclAssociation", { AssociationId, NetworkAclId });
    await refused("DependencyViolation", "DeleteNetworkAcl", { NetworkAclId });
    await refused("InvalidParameterValue", "DeleteNetworkAcl", {
      NetworkAclId: standard?.NetworkAclId,
    });
    const { NetworkAcls: [now] = [] } = await call("DescribeNetworkAcls", {
      NetworkAclIds: [NetworkAclId],
    });
    await call("ReplaceNetworkAclAssociation", {
      AssociationId: now?.Associations?.[0]?.NetworkAclAssociationId,
      NetworkAclId: standard?.NetworkAclId,
    });
    await call("DeleteNetworkAclEntry", { NetworkAclId, RuleNumber: 110, Egress: false });
    await refused("InvalidNetworkAclEntry.NotFound", "DeleteNetworkAclEntry", {
      NetworkAclId,
      RuleNumber: 110,
      Egress: false,
    });
    await call("DeleteNetworkAcl", { NetworkAclId });
  });

  await t.step("DHCP options", async () => {
    const { DhcpOptions: made } = await call("CreateDhcpOptions", {
      DhcpConfigurations: [{ Key: "domain-name-servers", Values: ["10.1.0.2", "10.1.0.3"] }],
    });
    const DhcpOptionsId = made?.DhcpOptionsId;
    await refused("InvalidParameterValue", "CreateDhcpOptions", {
      DhcpConfigurations: [{ Key: "no-such-option", Values: ["1"] }],
    });
    await call("AssociateDhcpOptions", { DhcpOptionsId, VpcId });
    await refused("DependencyViolation", "DeleteDhcpOptions", { DhcpOptionsId });
    await refused("InvalidDhcpOptionID.NotFound", "AssociateDhcpOptions", {
      DhcpOptionsId: "dopt-0123456789abcdef0",
      VpcId,
    });
    await call("AssociateDhcpOptions", { DhcpOptionsId: "default", VpcId });
    const { DhcpOptions: found = [] } = await call("DescribeDhcpOptions", {
      Filters: filter("value", "10.1.0.?"),
    });
    assert.deepEqual(found.map((one) => one.DhcpOptionsId), [DhcpOptionsId]);
    await call("DeleteDhcpOptions", { DhcpOptionsId });
  });

  await t.step("pages are stable and bound to their request", async () => {
    for (let at = 10; at < 22; at++) {
      await call("CreateSubnet", { VpcId, CidrBlock: `10.1.${at}.0/24` });
    }
    const seen: string[] = [];
    let NextToken: string | undefined;
    do {
      const page = await call("DescribeSubnets", {
        MaxResults: 5,
        Filters: filter("vpc-id", VpcId),
        ...(NextToken === undefined ? {} : { NextToken }),
      });
      seen.push(...(page.Subnets ?? []).map((one) => one.SubnetId ?? ""));
      NextToken = page.NextToken;
    } while (NextToken !== undefined);
    assert.equal(new Set(seen).size, 13);
    assert.equal(seen.length, 13);
    const { NextToken: token } = await call("DescribeSubnets", { MaxResults: 5 });
    await refused("InvalidNextToken", "DescribeSubnets", {
      MaxResults: 5,
      NextToken: token,
      Filters: filter("vpc-id", VpcId),
    });
    await refused("InvalidParameterValue", "DescribeSubnets", { Filters: filter("colour", "red") });
  });
});
