/** Local gateways and addresses of customers as users call them over HTTPS. */
import assert from "node:assert/strict";
import { startScenario } from "../kit/ec2_scenario.ts";
import { until } from "../kit/until.ts";
import { filter, oneNetwork } from "./one_network.ts";

Deno.test("local gateways follow EC2's rules", async (t) => {
  await using ec2 = await startScenario();
  const { call, refused } = ec2;
  const { VpcId } = await oneNetwork(ec2);

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
});
