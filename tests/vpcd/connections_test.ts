/** VPN, peering and transit gateways as users call them over HTTPS. */
import assert from "node:assert/strict";
import { startScenario } from "../kit/ec2_scenario.ts";
import { otherAccount } from "../kit/gateway.ts";
import { expirePeerings } from "../../services/vpcd/families/peering.ts";
import { peering } from "../../services/vpcd/kinds/peering.ts";
import { until } from "../kit/until.ts";
import { filter, oneNetwork } from "./one_network.ts";

Deno.test("connections between networks follow EC2's rules over HTTPS", async (t) => {
  await using ec2 = await startScenario();
  const { call, refused, other } = ec2;
  const { VpcId, SubnetId } = await oneNetwork(ec2);

  await t.step("peering between two accounts", async () => {
    const { Vpc: theirs } = await other.call("CreateVpc", { CidrBlock: "10.8.0.0/16" });
    const there = theirs?.VpcId ?? "";
    const { VpcPeeringConnection: made } = await call("CreateVpcPeeringConnection", {
      VpcId,
      PeerVpcId: there,
      PeerOwnerId: otherAccount,
    });
    const VpcPeeringConnectionId = made?.VpcPeeringConnectionId ?? "";
    assert.equal(made?.Status?.Code, "pending-acceptance");
    await refused("OperationNotPermitted", "AcceptVpcPeeringConnection", {
      VpcPeeringConnectionId,
    });
    await refused("OperationNotPermitted", "ModifyVpcPeeringConnectionOptions", {
      VpcPeeringConnectionId,
    });
    const { VpcPeeringConnections: [seen] = [] } = await other.call(
      "DescribeVpcPeeringConnections",
      {
        Filters: filter("status-code", "pending-acceptance"),
      },
    );
    assert.equal(seen?.RequesterVpcInfo?.VpcId, VpcId);
    await other.call("AcceptVpcPeeringConnection", { VpcPeeringConnectionId });
    await other.refused("InvalidStateTransition", "RejectVpcPeeringConnection", {
      VpcPeeringConnectionId,
    });
    await call("ModifyVpcPeeringConnectionOptions", {
      VpcPeeringConnectionId,
      RequesterPeeringConnectionOptions: { AllowDnsResolutionFromRemoteVpc: true },
    });
    const { RouteTables: [table] = [] } = await call("DescribeRouteTables", {
      Filters: filter("vpc-id", VpcId),
    });
    await call("CreateRoute", {
      RouteTableId: table?.RouteTableId,
      DestinationCidrBlock: "10.8.0.0/16",
      VpcPeeringConnectionId,
    });
    await call("DeleteRoute", {
      RouteTableId: table?.RouteTableId,
      DestinationCidrBlock: "10.8.0.0/16",
    });
    await other.call("DeleteVpcPeeringConnection", { VpcPeeringConnectionId });
    await refused("InvalidVpcPeeringConnectionID.NotFound", "DeleteVpcPeeringConnection", {
      VpcPeeringConnectionId,
    });
    const { VpcPeeringConnection: second } = await call("CreateVpcPeeringConnection", {
      VpcId,
      PeerVpcId: there,
      PeerOwnerId: otherAccount,
    });
    await other.call("RejectVpcPeeringConnection", {
      VpcPeeringConnectionId: second?.VpcPeeringConnectionId,
    });
    const { VpcPeeringConnection: forgotten } = await call("CreateVpcPeeringConnection", {
      VpcId,
      PeerVpcId: there,
      PeerOwnerId: otherAccount,
    });
    const id = forgotten?.VpcPeeringConnectionId ?? "";
    const { records } = ec2.vpcd.network;
    const statusOf = async (who: typeof other) =>
      (await who.call("DescribeVpcPeeringConnections", { VpcPeeringConnectionIds: [id] }))
        .VpcPeeringConnections?.[0]?.Status?.Code;
    await expirePeerings(records);
    assert.equal(await statusOf(other), "pending-acceptance");
    await records.change(peering, forgotten?.RequesterVpcInfo?.OwnerId ?? "", id, () => ({
      ExpirationTime: new Date(Date.now() - 1_000).toISOString(),
    }));
    // Too late also before anybody has looked.
    await other.refused("InvalidStateTransition", "AcceptVpcPeeringConnection", {
      VpcPeeringConnectionId: id,
    });
    await expirePeerings(records);
    for (const who of [ec2, other]) {
      await until("the request has expired", async () => await statusOf(who) === "expired");
    }
    await other.refused("InvalidVpcPeeringConnectionID.NotFound", "AcceptVpcPeeringConnection", {
      VpcPeeringConnectionId: id,
    });
    const { VpcPeeringConnection: failed } = await call("CreateVpcPeeringConnection", {
      VpcId,
      PeerVpcId: "vpc-0123456789abcdef0",
      PeerOwnerId: otherAccount,
    });
    assert.equal(failed?.Status?.Code, "failed");
  });

  let gatewayId = "";
  await t.step("VPN", async () => {
    await refused("InvalidParameterValue", "CreateCustomerGateway", {
      Type: "ipsec.1",
      PublicIp: "300.1.1.1",
      BgpAsn: 65000,
    });
    const { CustomerGateway: customer } = await call("CreateCustomerGateway", {
      Type: "ipsec.1",
      PublicIp: "192.0.2.10",
      BgpAsn: 65001,
    });
    const CustomerGatewayId = customer?.CustomerGatewayId ?? "";
    assert.equal(customer?.BgpAsn, "65001");
    const { VpnGateway: gateway } = await call("CreateVpnGateway", { Type: "ipsec.1" });
    const VpnGatewayId = gateway?.VpnGatewayId ?? "";
    const attached = await call("AttachVpnGateway", { VpnGatewayId, VpcId });
    assert.equal(attached.VpcAttachment?.State, "attached");
    await refused("IncorrectState", "DeleteVpnGateway", { VpnGatewayId });
    const { RouteTables: [table] = [] } = await call("DescribeRouteTables", {
      Filters: filter("vpc-id", VpcId),
    });
    const propagation = { RouteTableId: table?.RouteTableId, GatewayId: VpnGatewayId };
    await call("EnableVgwRoutePropagation", propagation);
    await call("DisableVgwRoutePropagation", propagation);
    const { VpnConnection: made } = await call("CreateVpnConnection", {
      Type: "ipsec.1",
      CustomerGatewayId,
      VpnGatewayId,
      Options: { StaticRoutesOnly: true },
    });
    const VpnConnectionId = made?.VpnConnectionId ?? "";
    const isIn = (state: string) => async () =>
      (await call("DescribeVpnConnections", { VpnConnectionIds: [VpnConnectionId] }))
        .VpnConnections?.[0]?.State === state;
    await until("available", isIn("available"));
    await refused("IncorrectState", "DeleteCustomerGateway", { CustomerGatewayId });
    await call("CreateVpnConnectionRoute", {
      VpnConnectionId,
      DestinationCidrBlock: "192.168.0.0/16",
    });
    await call("DeleteVpnConnectionRoute", {
      VpnConnectionId,
      DestinationCidrBlock: "192.168.0.0/16",
    });
    await refused("InvalidRoute.NotFound", "DeleteVpnConnectionRoute", {
      VpnConnectionId,
      DestinationCidrBlock: "192.168.0.0/16",
    });
    await call("ModifyVpnConnectionOptions", {
      VpnConnectionId,
      LocalIpv4NetworkCidr: "10.0.0.0/8",
    });
    await refused("InvalidParameterValue", "ModifyVpnConnectionOptions", {
      VpnConnectionId,
      LocalIpv4NetworkCidr: "ten",
    });
    const tunnel = made?.Options?.TunnelOptions?.[0]?.OutsideIpAddress;
    const { VpnConnection: changed } = await call("ModifyVpnTunnelOptions", {
      VpnConnectionId,
      VpnTunnelOutsideIpAddress: tunnel,
      TunnelOptions: { PreSharedKey: "a.very.long.key" },
    });
    assert.equal(changed?.Options?.TunnelOptions?.[0]?.PreSharedKey, "a.very.long.key");
    await call("ModifyVpnTunnelCertificate", {
      VpnConnectionId,
      VpnTunnelOutsideIpAddress: tunnel,
    });
    const { CustomerGateway: second } = await call("CreateCustomerGateway", {
      Type: "ipsec.1",
      PublicIp: "192.0.2.11",
      BgpAsn: 65001,
    });
    const { VpnConnection: moved } = await call("ModifyVpnConnection", {
      VpnConnectionId,
      CustomerGatewayId: second?.CustomerGatewayId,
    });
    assert.equal(moved?.CustomerGatewayId, second?.CustomerGatewayId);
    await call("DeleteVpnConnection", { VpnConnectionId });
    await until("deleted", isIn("deleted"));
    await call("DetachVpnGateway", { VpnGatewayId, VpcId });
    await refused("InvalidVpnGatewayAttachment.NotFound", "DetachVpnGateway", {
      VpnGatewayId,
      VpcId,
    });
    await call("DeleteVpnGateway", { VpnGatewayId });
    await call("DeleteCustomerGateway", { CustomerGatewayId });
    const { CustomerGateways: [gone] = [] } = await call("DescribeCustomerGateways", {
      CustomerGatewayIds: [CustomerGatewayId],
    });
    assert.equal(gone?.State, "deleted");
    assert.equal((await call("DescribeVpnGateways", {})).VpnGateways?.[0]?.State, "deleted");
  });

  await t.step("transit gateways", async () => {
    const { TransitGateway: made } = await call("CreateTransitGateway", { Description: "hub" });
    gatewayId = made?.TransitGatewayId ?? "";
    await until(
      "available",
      async () =>
        (await call("DescribeTransitGateways", { TransitGatewayIds: [gatewayId] })).TransitGateways
          ?.[0]?.State ===
          "available",
    );
    await call("ModifyTransitGateway", { TransitGatewayId: gatewayId, Description: "the hub" });
    const { TransitGatewayVpcAttachment: attachment } = await call(
      "CreateTransitGatewayVpcAttachment",
      {
        TransitGatewayId: gatewayId,
        VpcId,
        SubnetIds: [SubnetId],
      },
    );
    const TransitGatewayAttachmentId = attachment?.TransitGatewayAttachmentId ?? "";
    await refused("DuplicateTransitGatewayAttachment", "CreateTransitGatewayVpcAttachment", {
      TransitGatewayId: gatewayId,
      VpcId,
      SubnetIds: [SubnetId],
    });
    await refused("DependencyViolation", "DeleteSubnet", { SubnetId });
    await refused("IncorrectState", "DeleteTransitGateway", { TransitGatewayId: gatewayId });
    await call("ModifyTransitGatewayVpcAttachment", {
      TransitGatewayAttachmentId,
      Options: { ApplianceModeSupport: "enable" },
    });
    const { TransitGatewayAttachments: [seen] = [] } = await call(
      "DescribeTransitGatewayAttachments",
      {
        Filters: filter("resource-type", "vpc"),
      },
    );
    const first = seen?.Association?.TransitGatewayRouteTableId ?? "";
    const { TransitGatewayRouteTable: table } = await call("CreateTransitGatewayRouteTable", {
      TransitGatewayId: gatewayId,
    });
    const TransitGatewayRouteTableId = table?.TransitGatewayRouteTableId ?? "";
    const both = { TransitGatewayAttachmentId, TransitGatewayRouteTableId };
    await refused("Resource.AlreadyAssociated", "AssociateTransitGatewayRouteTable", both);
    await call("DisassociateTransitGatewayRouteTable", {
      ...both,
      TransitGatewayRouteTableId: first,
    });
    await call("AssociateTransitGatewayRouteTable", both);
    assert.equal(
      (await call("GetTransitGatewayRouteTableAssociations", { TransitGatewayRouteTableId }))
        .Associations?.length,
      1,
    );
    await call("EnableTransitGatewayRouteTablePropagation", both);
    assert.equal(
      (await call("GetTransitGatewayRouteTablePropagations", { TransitGatewayRouteTableId }))
        .TransitGatewayRouteTablePropagations?.length,
      1,
    );
    assert.equal(
      (await call("GetTransitGatewayAttachmentPropagations", { TransitGatewayAttachmentId }))
        .TransitGatewayAttachmentPropagations?.length,
      2,
    );
    const route = { TransitGatewayRouteTableId, DestinationCidrBlock: "10.99.0.0/16" };
    await call("CreateTransitGatewayRoute", { ...route, TransitGatewayAttachmentId });
    await refused("RouteAlreadyExists", "CreateTransitGatewayRoute", {
      ...route,
      TransitGatewayAttachmentId,
    });
    await call("ReplaceTransitGatewayRoute", { ...route, Blackhole: true });
    const { Routes: routes = [] } = await call("SearchTransitGatewayRoutes", {
      TransitGatewayRouteTableId,
      Filters: filter("type", "static", "propagated"),
    });
    assert.deepEqual(routes.map((one) => [one.DestinationCidrBlock, one.State]).sort(), [
      ["10.5.0.0/16", "active"],
      ["10.99.0.0/16", "blackhole"],
    ]);
    await call("DisableTransitGatewayRouteTablePropagation", both);
    await call("DeleteTransitGatewayRoute", route);
    await refused("InvalidRoute.NotFound", "DeleteTransitGatewayRoute", route);
    await refused("IncorrectState", "DeleteTransitGatewayRouteTable", {
      TransitGatewayRouteTableId,
    });
    await call("DeleteTransitGatewayVpcAttachment", { TransitGatewayAttachmentId });
    await until("gone", async () =>
      (await call("DescribeTransitGatewayVpcAttachments", {
        TransitGatewayAttachmentIds: [TransitGatewayAttachmentId],
      })).TransitGatewayVpcAttachments?.[0]?.State === "deleted");
    await call("DeleteTransitGatewayRouteTable", { TransitGatewayRouteTableId });
    await until(
      "the table is gone",
      async () =>
        (await call("DescribeTransitGatewayRouteTables", {
          TransitGatewayRouteTableIds: [TransitGatewayRouteTableId],
        })).TransitGatewayRouteTables?.[0]?.State === "deleted",
    );
    await call("DeleteTransitGateway", { TransitGatewayId: gatewayId });
    await call("DeleteSubnet", { SubnetId });
  });
});

Deno.test("of an answer and the end of a request that waited for a week one comes first, whichever node gives them", async () => {
  await using ec2 = await startScenario();
  const { call, other } = ec2;
  const { VpcId } = await oneNetwork(ec2);
  const { Vpc: theirs } = await other.call("CreateVpc", { CidrBlock: "10.8.0.0/16" });
  const { records } = ec2.vpcd.network;
  const request = async () => {
    const { VpcPeeringConnection: made } = await call("CreateVpcPeeringConnection", {
      VpcId,
      PeerVpcId: theirs?.VpcId,
      PeerOwnerId: otherAccount,
    });
    return {
      id: made?.VpcPeeringConnectionId ?? "",
      owner: made?.RequesterVpcInfo?.OwnerId ?? "",
    };
  };
  const past = { ExpirationTime: new Date(Date.now() - 1_000).toISOString() };
  const active = { Status: { Code: "active", Message: "Active" } } as const;
  const statusOf = ({ owner, id }: { readonly owner: string; readonly id: string }) =>
    records.of(peering).get(owner, id)?.shape.Status?.Code;
  const resources = records.of(peering);
  const modify = resources.modify.bind(resources);

  // Another node has accepted it in time, and this one looks at the clock afterwards.
  const accepted = await request();
  await records.change(peering, accepted.owner, accepted.id, () => past);
  resources.modify = async (...args) => {
    resources.modify = modify;
    await records.change(peering, accepted.owner, accepted.id, () => active);
    return await modify(...args);
  };
  await expirePeerings(records);
  assert.equal(statusOf(accepted), "active");

  // It was accepted on another node while its owner was refusing it here.
  const both = await request();
  resources.modify = async (...args) => {
    resources.modify = modify;
    await records.change(peering, both.owner, both.id, () => active);
    return await modify(...args);
  };
  await other.refused("InvalidStateTransition", "RejectVpcPeeringConnection", {
    VpcPeeringConnectionId: both.id,
  });
  assert.equal(statusOf(both), "active");

  // It expires between the look at it and its acceptance.
  const late = await request();
  const change = records.change.bind(records);
  records.change = (async (...args: Parameters<typeof change>) => {
    records.change = change;
    await change(peering, late.owner, late.id, () => past);
    return await change(...args);
  }) as typeof change;
  await other.refused("InvalidStateTransition", "AcceptVpcPeeringConnection", {
    VpcPeeringConnectionId: late.id,
  });
  await expirePeerings(records);
  assert.equal(statusOf(late), "expired");
});
