/** Routes and associations: a route whose target leads nowhere is a black hole; a subnet follows one table. */
import assert from "node:assert/strict";
import { routeTable } from "../../services/vpcd/kinds/route_tables.ts";
import { startScenario } from "../kit/ec2_scenario.ts";
import { testAccount } from "../kit/gateway.ts";
import { until } from "../kit/until.ts";
import { filter, oneNetwork } from "./one_network.ts";

Deno.test("a route is a black hole once its target leads nowhere", async (t) => {
  await using ec2 = await startScenario();
  const { call, refused } = ec2;
  const { VpcId, SubnetId } = await oneNetwork(ec2);
  const { RouteTable: table } = await call("CreateRouteTable", { VpcId });
  const RouteTableId = table?.RouteTableId ?? "";
  const states = async () => {
    const { RouteTables: [now] = [] } = await call("DescribeRouteTables", {
      RouteTableIds: [RouteTableId],
    });
    return Object.fromEntries(
      (now?.Routes ?? []).map((route) => [route.DestinationCidrBlock, route.State]),
    );
  };
  const route = (DestinationCidrBlock: string, target: object) =>
    call("CreateRoute", { RouteTableId, DestinationCidrBlock, ...target });

  const { InternetGateway: gateway } = await call("CreateInternetGateway", {});
  const InternetGatewayId = gateway?.InternetGatewayId;
  await call("AttachInternetGateway", { InternetGatewayId, VpcId });
  const { NatGateway: nat } = await call("CreateNatGateway", {
    SubnetId,
    ConnectivityType: "private",
  });
  const { NetworkInterface: eni } = await call("CreateNetworkInterface", { SubnetId });
  const { Vpc: peer } = await call("CreateVpc", { CidrBlock: "10.6.0.0/16" });
  const { VpcPeeringConnection: link } = await call("CreateVpcPeeringConnection", {
    VpcId,
    PeerVpcId: peer?.VpcId,
  });
  const VpcPeeringConnectionId = link?.VpcPeeringConnectionId;

  await t.step("active as long as it leads on", async () => {
    await route("0.0.0.0/0", { GatewayId: InternetGatewayId });
    await route("9.1.0.0/16", { NatGatewayId: nat?.NatGatewayId });
    await route("9.2.0.0/16", { NetworkInterfaceId: eni?.NetworkInterfaceId });
    await route("10.6.0.0/16", { VpcPeeringConnectionId });
    assert.equal((await states())["10.6.0.0/16"], "blackhole");
    await call("AcceptVpcPeeringConnection", { VpcPeeringConnectionId });
    assert.deepEqual(Object.values(await states()), Array(5).fill("active"));
  });

  await t.step("and a black hole when that ends", async () => {
    await call("DetachInternetGateway", { InternetGatewayId, VpcId });
    await call("DeleteNatGateway", { NatGatewayId: nat?.NatGatewayId });
    await call("DeleteNetworkInterface", { NetworkInterfaceId: eni?.NetworkInterfaceId });
    await call("DeleteVpcPeeringConnection", { VpcPeeringConnectionId });
    await until(
      "all but the local one",
      async () => Object.values(await states()).filter((one) => one === "blackhole").length === 4,
    );
    assert.equal((await states())["10.5.0.0/16"], "active");
    const { RouteTables: found = [] } = await call("DescribeRouteTables", {
      Filters: filter("route.state", "blackhole"),
    });
    assert.deepEqual(found.map((one) => one.RouteTableId), [RouteTableId]);
    await call("AttachInternetGateway", { InternetGatewayId, VpcId });
    assert.equal((await states())["0.0.0.0/0"], "active");
  });

  await t.step("a list that a route leads to is there", async () => {
    await refused("InvalidPrefixListID.NotFound", "CreateRoute", {
      RouteTableId,
      DestinationPrefixListId: "pl-0123456789abcdef0",
      GatewayId: InternetGatewayId,
    });
  });

  await t.step(
    "replacing an association that was cut off leaves a subnet in one table",
    async () => {
      const { AssociationId } = await call("AssociateRouteTable", { RouteTableId, SubnetId });
      const { records } = ec2.vpcd.network;
      const old = records.get(routeTable, testAccount, RouteTableId)?.shape;
      const { RouteTable: second } = await call("CreateRouteTable", { VpcId });
      const wish = { AssociationId, RouteTableId: second?.RouteTableId };
      await call("ReplaceRouteTableAssociation", wish);
      // As a crash before the last write leaves it.
      await records.change(routeTable, testAccount, RouteTableId, () => ({
        Associations: old?.Associations,
      }));
      const { NewAssociationId } = await call("ReplaceRouteTableAssociation", wish);
      const { RouteTables: tables = [] } = await call("DescribeRouteTables", {
        Filters: filter("association.subnet-id", SubnetId),
      });
      assert.deepEqual(
        tables.map((one) => one.Associations?.map((has) => has.RouteTableAssociationId)),
        [[NewAssociationId]],
      );
    },
  );
});
