/** Endpoints and endpoint services as users call them over HTTPS. */
import assert from "node:assert/strict";
import { startScenario } from "../kit/ec2_scenario.ts";
import { otherAccount } from "../kit/gateway.ts";
import { until } from "../kit/until.ts";
import { filter, oneNetwork } from "./one_network.ts";

const region = "ap-southeast-2";

Deno.test("endpoints follow EC2's rules", async (t) => {
  await using ec2 = await startScenario();
  const { call, refused, other } = ec2;
  const { VpcId, SubnetId } = await oneNetwork(ec2);
  const { RouteTable: table } = await call("CreateRouteTable", { VpcId });
  const RouteTableId = table?.RouteTableId ?? "";

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
});
