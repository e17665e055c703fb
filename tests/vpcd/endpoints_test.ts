/** Endpoints, prefix lists, local gateways, route servers and the rest as users call them over HTTPS. */
import assert from "node:assert/strict";
import { startScenario } from "../kit/ec2_scenario.ts";
import { otherAccount } from "../kit/gateway.ts";
import { until } from "../kit/until.ts";
import { filter, oneNetwork } from "./one_network.ts";

const region = "ap-southeast-2";

Deno.test("endpoints, lists, local gateways and route servers follow EC2's rules", async (t) => {
  await using ec2 = await startScenario();
  const { call, refused, other } = ec2;
  const { VpcId, SubnetId } = await oneNetwork(ec2);
  const { RouteTable: table } = await call("CreateRouteTable", { VpcId });
  const RouteTableId = table?.RouteTableId ?? "";

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

  await t.step("endpoints of the cloud's own services", async () => {
    const { ServiceNames = [] } = await call("DescribeVpcEndpointServices", {});
    assert.ok(ServiceNames.includes(`com.amazonaws.${region}.s3`));
    const { VpcEndpoint: made } = await call("CreateVpcEndpoint", {
      VpcId,
      ServiceName: `com.amazonaws.${region}.s3`,
      RouteTableIds: [RouteTableId],
    });
    const gateway = made?.VpcEndpointId ?? "";
    const routes = async () =>
      (await call("DescribeRouteTables", { RouteTableIds: [RouteTableId] })).RouteTables?.[0]
        ?.Routes
        ?.filter((one) => one.GatewayId === gateway).length;
    assert.equal(await routes(), 1);
    await refused("DependencyViolation", "DeleteRouteTable", { RouteTableId });
    await call("ModifyVpcEndpoint", {
      VpcEndpointId: gateway,
      RemoveRouteTableIds: [RouteTableId],
    });
    assert.equal(await routes(), 0);
    await refused("InvalidServiceName", "CreateVpcEndpoint", {
      VpcId,
      ServiceName: "com.example.no",
    });
    await refused("InvalidPolicyDocument", "CreateVpcEndpoint", {
      VpcId,
      ServiceName: `com.amazonaws.${region}.s3`,
      PolicyDocument: "{",
    });
    const { VpcEndpoint: inner } = await call("CreateVpcEndpoint", {
      VpcId,
      VpcEndpointType: "Interface",
      ServiceName: `com.amazonaws.${region}.ec2`,
      SubnetIds: [SubnetId],
    });
    const { NetworkInterfaces: [eni] = [] } = await call("DescribeNetworkInterfaces", {
      Filters: filter("interface-type", "vpc_endpoint"),
    });
    assert.deepEqual(inner?.NetworkInterfaceIds, [eni?.NetworkInterfaceId]);
    await until(
      "available",
      async () =>
        (await call("DescribeVpcEndpoints", { Filters: filter("vpc-endpoint-type", "Interface") }))
          .VpcEndpoints?.[0]?.State as string === "available",
    );
    assert.deepEqual(
      (await call("DescribeVpcEndpointAssociations", {})).VpcEndpointAssociations,
      [],
    );
    await refused("DependencyViolation", "DeleteSubnet", { SubnetId });
    const { Unsuccessful = [] } = await call("DeleteVpcEndpoints", {
      VpcEndpointIds: [gateway, inner?.VpcEndpointId ?? "", "vpce-0123456789abcdef0"],
    });
    assert.deepEqual(Unsuccessful.map((one) => one.Error?.Code), ["InvalidVpcEndpointId.NotFound"]);
  });

  await t.step("endpoint services between accounts", async () => {
    const loadBalancer =
      `arn:aws:elasticloadbalancing:${region}:123456789012:loadbalancer/net/a/0123456789abcdef`;
    const { ServiceConfiguration: made } = await call("CreateVpcEndpointServiceConfiguration", {
      NetworkLoadBalancerArns: [loadBalancer],
      PrivateDnsName: "api.example.com",
    });
    const ServiceId = made?.ServiceId ?? "";
    const { Vpc: theirs } = await other.call("CreateVpc", { CidrBlock: "10.9.0.0/16" });
    const { Subnet: place } = await other.call("CreateSubnet", {
      VpcId: theirs?.VpcId,
      CidrBlock: "10.9.0.0/24",
    });
    const wish = {
      VpcId: theirs?.VpcId,
      VpcEndpointType: "Interface" as const,
      ServiceName: made?.ServiceName,
      SubnetIds: [place?.SubnetId ?? ""],
    };
    await other.refused("InvalidServiceName", "CreateVpcEndpoint", wish);
    await refused("InvalidPrincipal", "ModifyVpcEndpointServicePermissions", {
      ServiceId,
      AddAllowedPrincipals: ["you"],
    });
    await call("ModifyVpcEndpointServicePermissions", {
      ServiceId,
      AddAllowedPrincipals: [`arn:aws:iam::${otherAccount}:root`],
    });
    assert.equal(
      (await call("DescribeVpcEndpointServicePermissions", { ServiceId })).AllowedPrincipals
        ?.length,
      1,
    );
    const { VpcEndpoint: waiting } = await other.call("CreateVpcEndpoint", wish);
    assert.equal(waiting?.State as string, "pendingAcceptance");
    const VpcEndpointIds = [waiting?.VpcEndpointId ?? ""];
    assert.equal(
      (await call("DescribeVpcEndpointConnections", {})).VpcEndpointConnections?.[0]
        ?.VpcEndpointOwner,
      otherAccount,
    );
    await call("AcceptVpcEndpointConnections", { ServiceId, VpcEndpointIds });
    const { Unsuccessful: failed = [] } = await call("RejectVpcEndpointConnections", {
      ServiceId,
      VpcEndpointIds,
    });
    assert.equal(failed.length, 1);
    const { Unsuccessful: used = [] } = await call("DeleteVpcEndpointServiceConfigurations", {
      ServiceIds: [ServiceId],
    });
    assert.equal(used[0]?.Error?.Code, "ExistingVpcEndpointConnections");
    await other.call("DeleteVpcEndpoints", { VpcEndpointIds });

    const topic = `arn:aws:sns:${region}:123456789012:topic`;
    const { ConnectionNotification: notification } = await call(
      "CreateVpcEndpointConnectionNotification",
      {
        ServiceId,
        ConnectionNotificationArn: topic,
        ConnectionEvents: ["Accept"],
      },
    );
    const ConnectionNotificationId = notification?.ConnectionNotificationId ?? "";
    await refused("InvalidParameterValue", "ModifyVpcEndpointConnectionNotification", {
      ConnectionNotificationId,
      ConnectionEvents: ["Sneeze"],
    });
    await call("ModifyVpcEndpointConnectionNotification", {
      ConnectionNotificationId,
      ConnectionEvents: ["Accept", "Delete"],
    });
    const { ConnectionNotificationSet: [shown] = [] } = await call(
      "DescribeVpcEndpointConnectionNotifications",
      {
        ConnectionNotificationId,
      },
    );
    assert.deepEqual(shown?.ConnectionEvents, ["Accept", "Delete"]);
    await call("DeleteVpcEndpointConnectionNotifications", {
      ConnectionNotificationIds: [ConnectionNotificationId],
    });
    await call("ModifyVpcEndpointServiceConfiguration", { ServiceId, AcceptanceRequired: false });
    await call("ModifyVpcEndpointServicePayerResponsibility", {
      ServiceId,
      PayerResponsibility: "ServiceOwner",
    });
    await call("StartVpcEndpointServicePrivateDnsVerification", { ServiceId });
    const { ServiceConfigurations: [now] = [] } = await call(
      "DescribeVpcEndpointServiceConfigurations",
      { ServiceIds: [ServiceId] },
    );
    assert.equal(now?.AcceptanceRequired, false);
    assert.equal(now?.PrivateDnsNameConfiguration?.State, "failed");
    await until(
      "deleted",
      async () =>
        (await call("DeleteVpcEndpointServiceConfigurations", { ServiceIds: [ServiceId] }))
          .Unsuccessful?.length === 0,
    );
  });

  await t.step("local gateways and customer-owned addresses", async () => {
    const { LocalGateways: [gateway] = [] } = await call("DescribeLocalGateways", {});
    const LocalGatewayId = gateway?.LocalGatewayId ?? "";
    const { LocalGatewayRouteTable: made } = await call("CreateLocalGatewayRouteTable", {
      LocalGatewayId,
      Mode: "coip",
    });
    const LocalGatewayRouteTableId = made?.LocalGatewayRouteTableId ?? "";
    const { LocalGatewayVirtualInterfaceGroup: group } = await call(
      "CreateLocalGatewayVirtualInterfaceGroup",
      {
        LocalGatewayId,
        LocalBgpAsn: 65010,
      },
    );
    const LocalGatewayVirtualInterfaceGroupId = group?.LocalGatewayVirtualInterfaceGroupId ?? "";
    const wire = {
      LocalGatewayVirtualInterfaceGroupId,
      OutpostLagId: "op-lag-1",
      Vlan: 100,
      LocalAddress: "10.0.0.1/30",
      PeerAddress: "10.0.0.2/30",
      PeerBgpAsn: 65011,
    };
    const { LocalGatewayVirtualInterface: link } = await call(
      "CreateLocalGatewayVirtualInterface",
      wire,
    );
    await refused("InvalidParameterValue", "CreateLocalGatewayVirtualInterface", wire);
    await refused("InvalidParameterValue", "CreateLocalGatewayVirtualInterface", {
      ...wire,
      Vlan: 5000,
    });
    const { LocalGatewayVirtualInterfaceGroups: [shown] = [] } = await call(
      "DescribeLocalGatewayVirtualInterfaceGroups",
      {},
    );
    assert.deepEqual(shown?.LocalGatewayVirtualInterfaceIds, [
      link?.LocalGatewayVirtualInterfaceId,
    ]);
    await refused("DependencyViolation", "DeleteLocalGatewayVirtualInterfaceGroup", {
      LocalGatewayVirtualInterfaceGroupId,
    });
    const route = { LocalGatewayRouteTableId, DestinationCidrBlock: "192.168.0.0/16" };
    await call("CreateLocalGatewayRoute", { ...route, LocalGatewayVirtualInterfaceGroupId });
    await refused("RouteAlreadyExists", "CreateLocalGatewayRoute", {
      ...route,
      LocalGatewayVirtualInterfaceGroupId,
    });
    await call("ModifyLocalGatewayRoute", { ...route, LocalGatewayVirtualInterfaceGroupId });
    const { Routes = [] } = await call("SearchLocalGatewayRoutes", {
      LocalGatewayRouteTableId,
      Filters: filter("route-search.subnet-of-match", "192.0.0.0/8"),
    });
    assert.equal(Routes.length, 1);
    await call("DeleteLocalGatewayRoute", route);
    await refused("InvalidRoute.NotFound", "DeleteLocalGatewayRoute", route);
    const { LocalGatewayRouteTableVpcAssociation: association } = await call(
      "CreateLocalGatewayRouteTableVpcAssociation",
      {
        LocalGatewayRouteTableId,
        VpcId,
      },
    );
    const { LocalGatewayRouteTableVirtualInterfaceGroupAssociation: second } = await call(
      "CreateLocalGatewayRouteTableVirtualInterfaceGroupAssociation",
      { LocalGatewayRouteTableId, LocalGatewayVirtualInterfaceGroupId },
    );
    await until(
      "associated",
      async () =>
        (await call("DescribeLocalGatewayRouteTableVpcAssociations", {}))
          .LocalGatewayRouteTableVpcAssociations?.[0]?.State ===
          "associated",
    );
    await until(
      "associated too",
      async () =>
        (await call("DescribeLocalGatewayRouteTableVirtualInterfaceGroupAssociations", {}))
          .LocalGatewayRouteTableVirtualInterfaceGroupAssociations?.[0]?.State === "associated",
    );
    await refused("DependencyViolation", "DeleteLocalGatewayRouteTable", {
      LocalGatewayRouteTableId,
    });
    const { CoipPool: pool } = await call("CreateCoipPool", { LocalGatewayRouteTableId });
    const cidr = { CoipPoolId: pool?.PoolId, Cidr: "192.0.2.0/24" };
    await call("CreateCoipCidr", cidr);
    await refused("InvalidParameterValue", "CreateCoipCidr", cidr);
    assert.equal(
      (await call("GetCoipPoolUsage", { PoolId: pool?.PoolId })).CoipPoolId,
      pool?.PoolId,
    );
    await refused("DependencyViolation", "DeleteCoipPool", { CoipPoolId: pool?.PoolId });
    await call("DeleteCoipCidr", cidr);
    assert.equal((await call("DescribeCoipPools", {})).CoipPools?.length, 1);
    await call("DeleteCoipPool", { CoipPoolId: pool?.PoolId });
    await call("DeleteLocalGatewayRouteTableVpcAssociation", {
      LocalGatewayRouteTableVpcAssociationId: association?.LocalGatewayRouteTableVpcAssociationId,
    });
    await call("DeleteLocalGatewayRouteTableVirtualInterfaceGroupAssociation", {
      LocalGatewayRouteTableVirtualInterfaceGroupAssociationId: second
        ?.LocalGatewayRouteTableVirtualInterfaceGroupAssociationId,
    });
    await call("DeleteLocalGatewayVirtualInterface", {
      LocalGatewayVirtualInterfaceId: link?.LocalGatewayVirtualInterfaceId,
    });
    await until(
      "the wire is gone",
      async () =>
        (await call("DescribeLocalGatewayVirtualInterfaces", {})).LocalGatewayVirtualInterfaces?.[0]
          ?.ConfigurationState === "deleted",
    );
    await ec2.vpcd.network.records.settled();
    await call("DeleteLocalGatewayVirtualInterfaceGroup", { LocalGatewayVirtualInterfaceGroupId });
    await call("DeleteLocalGatewayRouteTable", { LocalGatewayRouteTableId });
    await until(
      "the table is gone",
      async () =>
        (await call("DescribeLocalGatewayRouteTables", {})).LocalGatewayRouteTables?.[0]?.State ===
          "deleted",
    );
  });

  await t.step("route servers", async () => {
    const { RouteServer: made } = await call("CreateRouteServer", { AmazonSideAsn: 65000 });
    const RouteServerId = made?.RouteServerId ?? "";
    await refused("InvalidParameterValue", "ModifyRouteServer", {
      RouteServerId,
      PersistRoutes: "disable",
      PersistRoutesDuration: 2,
    });
    await refused("InvalidParameterValue", "CreateRouteServerEndpoint", {
      RouteServerId,
      SubnetId,
    });
    await call("AssociateRouteServer", { RouteServerId, VpcId });
    await refused("Resource.AlreadyAssociated", "AssociateRouteServer", { RouteServerId, VpcId });
    assert.equal(
      (await call("GetRouteServerAssociations", { RouteServerId })).RouteServerAssociations?.[0]
        ?.VpcId,
      VpcId,
    );
    const { RouteServerEndpoint: endpoint } = await call("CreateRouteServerEndpoint", {
      RouteServerId,
      SubnetId,
    });
    const RouteServerEndpointId = endpoint?.RouteServerEndpointId ?? "";
    assert.match(endpoint?.EniAddress ?? "", /^10\.5\.0\./);
    const { RouteServerPeer: peer } = await call("CreateRouteServerPeer", {
      RouteServerEndpointId,
      PeerAddress: "10.5.0.200",
      BgpOptions: { PeerAsn: 65001 },
    });
    await refused("InvalidParameterValue", "CreateRouteServerPeer", {
      RouteServerEndpointId,
      PeerAddress: "10.5.0.200",
      BgpOptions: { PeerAsn: 65001 },
    });
    await refused("DependencyViolation", "DeleteRouteServerEndpoint", { RouteServerEndpointId });
    await refused("DependencyViolation", "DisassociateRouteServer", { RouteServerId, VpcId });
    await call("EnableRouteServerPropagation", { RouteServerId, RouteTableId });
    assert.equal(
      (await call("GetRouteServerPropagations", { RouteServerId })).RouteServerPropagations?.length,
      1,
    );
    await call("DisableRouteServerPropagation", { RouteServerId, RouteTableId });
    await refused("InvalidRouteServerPropagation.NotFound", "DisableRouteServerPropagation", {
      RouteServerId,
      RouteTableId,
    });
    await call("ModifyRouteServer", {
      RouteServerId,
      PersistRoutes: "enable",
      PersistRoutesDuration: 2,
    });
    assert.equal(
      (await call("GetRouteServerRoutingDatabase", { RouteServerId })).AreRoutesPersisted,
      true,
    );
    assert.equal(
      (await call("DescribeRouteServerPeers", {})).RouteServerPeers?.[0]?.BgpStatus?.Status,
      "down",
    );
    await call("DeleteRouteServerPeer", { RouteServerPeerId: peer?.RouteServerPeerId });
    await ec2.vpcd.network.records.settled();
    await call("DeleteRouteServerEndpoint", { RouteServerEndpointId });
    await ec2.vpcd.network.records.settled();
    assert.equal(
      (await call("DescribeRouteServerEndpoints", {})).RouteServerEndpoints?.[0]?.State,
      "deleted",
    );
    await refused("IncorrectState", "DeleteRouteServer", { RouteServerId });
    await call("DisassociateRouteServer", { RouteServerId, VpcId });
    await call("DeleteRouteServer", { RouteServerId });
    await until(
      "deleted",
      async () => (await call("DescribeRouteServers", {})).RouteServers?.[0]?.State === "deleted",
    );
  });

  await t.step("protections", async () => {
    const { VpcBlockPublicAccessExclusion: made } = await call(
      "CreateVpcBlockPublicAccessExclusion",
      {
        VpcId,
        InternetGatewayExclusionMode: "allow-egress",
      },
    );
    const ExclusionId = made?.ExclusionId;
    await refused("InvalidParameterValue", "CreateVpcBlockPublicAccessExclusion", {
      VpcId,
      InternetGatewayExclusionMode: "allow-egress",
    });
    await ec2.vpcd.network.records.settled();
    await call("ModifyVpcBlockPublicAccessExclusion", {
      ExclusionId,
      InternetGatewayExclusionMode: "allow-bidirectional",
    });
    const { VpcBlockPublicAccessExclusions: [shown] = [] } = await call(
      "DescribeVpcBlockPublicAccessExclusions",
      {},
    );
    assert.equal(shown?.InternetGatewayExclusionMode, "allow-bidirectional");
    await call("DeleteVpcBlockPublicAccessExclusion", { ExclusionId });
    assert.equal(
      (await call("DescribeVpcBlockPublicAccessOptions", {})).VpcBlockPublicAccessOptions
        ?.InternetGatewayBlockMode,
      "off",
    );
    await call("ModifyVpcBlockPublicAccessOptions", { InternetGatewayBlockMode: "block-ingress" });
    assert.equal(
      (await call("DescribeVpcBlockPublicAccessOptions", {})).VpcBlockPublicAccessOptions
        ?.InternetGatewayBlockMode,
      "block-ingress",
    );
    const { VpcEncryptionControl: control } = await call("CreateVpcEncryptionControl", { VpcId });
    const VpcEncryptionControlId = control?.VpcEncryptionControlId ?? "";
    await refused("VpcEncryptionControlAlreadyExists", "CreateVpcEncryptionControl", { VpcId });
    const { InternetGateway: gateway } = await call("CreateInternetGateway", {});
    await call("AttachInternetGateway", { VpcId, InternetGatewayId: gateway?.InternetGatewayId });
    assert.equal(
      (await call("GetVpcResourcesBlockingEncryptionEnforcement", { VpcId })).NonCompliantResources
        ?.[0]?.Id,
      gateway?.InternetGatewayId,
    );
    await refused("VpcEncryptionEnforcementBlocked", "ModifyVpcEncryptionControl", {
      VpcEncryptionControlId,
      Mode: "enforce",
    });
    await call("ModifyVpcEncryptionControl", {
      VpcEncryptionControlId,
      Mode: "enforce",
      InternetGatewayExclusion: "enable",
    });
    await ec2.vpcd.network.records.settled();
    const { VpcEncryptionControls: [now] = [] } = await call("DescribeVpcEncryptionControls", {
      VpcIds: [VpcId],
    });
    assert.deepEqual([now?.Mode, now?.State], ["enforce", "available"]);
    await call("DeleteVpcEncryptionControl", { VpcEncryptionControlId });
  });

  await t.step("flow logs, mirrors and connect endpoints", async () => {
    const wanted = {
      ResourceIds: [VpcId],
      ResourceType: "VPC" as const,
      TrafficType: "ALL" as const,
      LogGroupName: "flows",
    };
    const { FlowLogIds = [] } = await call("CreateFlowLogs", wanted);
    await refused("FlowLogAlreadyExists", "CreateFlowLogs", wanted);
    await refused("InvalidVpcID.NotFound", "CreateFlowLogs", {
      ...wanted,
      ResourceIds: ["vpc-0123456789abcdef0"],
    });
    assert.equal(
      (await call("DescribeFlowLogs", { Filter: filter("resource-id", VpcId) })).FlowLogs?.length,
      1,
    );
    await call("DeleteFlowLogs", { FlowLogIds });
    await refused("InvalidFlowLogId.NotFound", "DeleteFlowLogs", { FlowLogIds });

    const { NetworkInterface: source } = await call("CreateNetworkInterface", { SubnetId });
    const { NetworkInterface: sink } = await call("CreateNetworkInterface", { SubnetId });
    const { TrafficMirrorFilter: made } = await call("CreateTrafficMirrorFilter", {
      Description: "all",
    });
    const TrafficMirrorFilterId = made?.TrafficMirrorFilterId ?? "";
    const rule = {
      TrafficMirrorFilterId,
      TrafficDirection: "ingress" as const,
      RuleNumber: 1,
      RuleAction: "accept" as const,
      SourceCidrBlock: "0.0.0.0/0",
      DestinationCidrBlock: "10.0.0.0/8",
    };
    const { TrafficMirrorFilterRule: first } = await call("CreateTrafficMirrorFilterRule", rule);
    const TrafficMirrorFilterRuleId = first?.TrafficMirrorFilterRuleId ?? "";
    await refused("InvalidParameterValue", "CreateTrafficMirrorFilterRule", rule);
    await call("ModifyTrafficMirrorFilterRule", {
      TrafficMirrorFilterRuleId,
      RuleAction: "reject",
      RemoveFields: ["description"],
    });
    assert.equal(
      (await call("DescribeTrafficMirrorFilterRules", { TrafficMirrorFilterId }))
        .TrafficMirrorFilterRules?.[0]?.RuleAction,
      "reject",
    );
    await call("ModifyTrafficMirrorFilterNetworkServices", {
      TrafficMirrorFilterId,
      AddNetworkServices: ["amazon-dns"],
    });
    const { TrafficMirrorFilters: [shown] = [] } = await call("DescribeTrafficMirrorFilters", {});
    assert.deepEqual([shown?.NetworkServices, shown?.IngressFilterRules?.length], [
      ["amazon-dns"],
      1,
    ]);
    const { TrafficMirrorTarget: target } = await call("CreateTrafficMirrorTarget", {
      NetworkInterfaceId: sink?.NetworkInterfaceId,
    });
    const TrafficMirrorTargetId = target?.TrafficMirrorTargetId ?? "";
    const session = {
      NetworkInterfaceId: source?.NetworkInterfaceId,
      TrafficMirrorTargetId,
      TrafficMirrorFilterId,
      SessionNumber: 1,
    };
    const { TrafficMirrorSession: running } = await call("CreateTrafficMirrorSession", session);
    const TrafficMirrorSessionId = running?.TrafficMirrorSessionId ?? "";
    await refused("InvalidParameterValue", "CreateTrafficMirrorSession", session);
    await call("ModifyTrafficMirrorSession", { TrafficMirrorSessionId, SessionNumber: 2 });
    assert.equal(
      (await call("DescribeTrafficMirrorSessions", {})).TrafficMirrorSessions?.[0]?.SessionNumber,
      2,
    );
    await refused("DependencyViolation", "DeleteTrafficMirrorTarget", { TrafficMirrorTargetId });
    await refused("DependencyViolation", "DeleteTrafficMirrorFilter", { TrafficMirrorFilterId });
    await call("DeleteTrafficMirrorSession", { TrafficMirrorSessionId });
    assert.equal((await call("DescribeTrafficMirrorTargets", {})).TrafficMirrorTargets?.length, 1);
    await call("DeleteTrafficMirrorTarget", { TrafficMirrorTargetId });
    await call("DeleteTrafficMirrorFilterRule", { TrafficMirrorFilterRuleId });
    await call("DeleteTrafficMirrorFilter", { TrafficMirrorFilterId });

    const { InstanceConnectEndpoint: door } = await call("CreateInstanceConnectEndpoint", {
      SubnetId,
    });
    const InstanceConnectEndpointId = door?.InstanceConnectEndpointId ?? "";
    await refused("InstanceConnectEndpointLimitExceeded", "CreateInstanceConnectEndpoint", {
      SubnetId,
    });
    await call("ModifyInstanceConnectEndpoint", {
      InstanceConnectEndpointId,
      PreserveClientIp: true,
    });
    await ec2.vpcd.network.records.settled();
    const { InstanceConnectEndpoints: [now] = [] } = await call(
      "DescribeInstanceConnectEndpoints",
      {},
    );
    assert.deepEqual([now?.PreserveClientIp, now?.State], [true, "update-complete"]);
    await call("DeleteInstanceConnectEndpoint", { InstanceConnectEndpointId });
  });
});
