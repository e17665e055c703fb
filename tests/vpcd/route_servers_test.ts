/** Route servers as users call them over HTTPS. */
import assert from "node:assert/strict";
import { startScenario } from "../kit/ec2_scenario.ts";
import { until } from "../kit/until.ts";
import { oneNetwork } from "./one_network.ts";

Deno.test("route servers follow EC2's rules", async (t) => {
  await using ec2 = await startScenario();
  const { call, refused } = ec2;
  const { VpcId, SubnetId } = await oneNetwork(ec2);
  const { RouteTable: table } = await call("CreateRouteTable", { VpcId });
  const RouteTableId = table?.RouteTableId ?? "";

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
});
