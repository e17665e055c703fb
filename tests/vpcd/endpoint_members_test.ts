/** Endpoints lie in their own VPC, say their states as EC2 does, and their interfaces follow them. */
import assert from "node:assert/strict";
import { startScenario } from "../kit/ec2_scenario.ts";
import { otherAccount } from "../kit/gateway.ts";
import { filter } from "./one_network.ts";

const region = "ap-southeast-2";

Deno.test("endpoints lie in their VPC and say their states as EC2 does", async (t) => {
  await using ec2 = await startScenario();
  const { call, refused, other } = ec2;
  const made = async (CidrBlock: string) => {
    const { Vpc: one } = await call("CreateVpc", { CidrBlock });
    const VpcId = one?.VpcId ?? "";
    const { Subnet: subnet } = await call("CreateSubnet", { VpcId, CidrBlock });
    const { RouteTable: table } = await call("CreateRouteTable", { VpcId });
    return { VpcId, SubnetId: subnet?.SubnetId ?? "", RouteTableId: table?.RouteTableId ?? "" };
  };
  const [here, there] = [await made("10.5.0.0/16"), await made("10.6.0.0/16")];
  const { VpcId } = here;
  const state = async (id: string | undefined) =>
    (await call("DescribeVpcEndpoints", { VpcEndpointIds: [id ?? ""] })).VpcEndpoints?.[0]
      ?.State as string;
  const s3 = { VpcId, ServiceName: `com.amazonaws.${region}.s3` };
  const inner = {
    VpcId,
    ServiceName: `com.amazonaws.${region}.ec2`,
    VpcEndpointType: "Interface" as const,
  };

  await t.step("no table or subnet of another VPC is taken", async () => {
    await refused("InvalidParameterValue", "CreateVpcEndpoint", {
      ...s3,
      RouteTableIds: [there.RouteTableId],
    });
    const { VpcEndpoint: outer } = await call("CreateVpcEndpoint", s3);
    const VpcEndpointId = outer?.VpcEndpointId ?? "";
    await refused("InvalidParameterValue", "ModifyVpcEndpoint", {
      VpcEndpointId,
      AddRouteTableIds: [there.RouteTableId],
    });
    await refused("InvalidParameterValue", "ModifyVpcEndpoint", {
      VpcEndpointId,
      AddSubnetIds: [here.SubnetId],
    });
    await refused("InvalidPolicyDocument", "ModifyVpcEndpoint", {
      VpcEndpointId,
      PolicyDocument: JSON.stringify({ Statement: ["x".repeat(20_480)] }),
    });
    const { VpcEndpoint: one } = await call("CreateVpcEndpoint", inner);
    await refused("InvalidParameterValue", "ModifyVpcEndpoint", {
      VpcEndpointId: one?.VpcEndpointId,
      AddSubnetIds: [there.SubnetId],
    });
    await refused("InvalidParameterValue", "ModifyVpcEndpoint", {
      VpcEndpointId: one?.VpcEndpointId,
      AddRouteTableIds: [here.RouteTableId],
    });
    await call("DeleteVpcEndpoints", { VpcEndpointIds: [VpcEndpointId, one?.VpcEndpointId ?? ""] });
  });

  await t.step("its interfaces are in its groups", async () => {
    const { GroupId = "" } = await call("CreateSecurityGroup", {
      GroupName: "endpoints",
      Description: "of endpoints",
      VpcId,
    });
    const { VpcEndpoint: one } = await call("CreateVpcEndpoint", {
      ...inner,
      SubnetIds: [here.SubnetId],
      SecurityGroupIds: [GroupId],
    });
    assert.deepEqual(one?.Groups, [{ GroupId, GroupName: "endpoints" }]);
    const { SecurityGroups: [standard] = [] } = await call("DescribeSecurityGroups", {
      Filters: [...filter("vpc-id", VpcId), ...filter("group-name", "default")],
    });
    await call("ModifyVpcEndpoint", {
      VpcEndpointId: one?.VpcEndpointId,
      AddSecurityGroupIds: [standard?.GroupId ?? ""],
      RemoveSecurityGroupIds: [GroupId],
    });
    const { NetworkInterfaces: [eni] = [] } = await call("DescribeNetworkInterfaces", {
      NetworkInterfaceIds: one?.NetworkInterfaceIds,
    });
    assert.deepEqual(eni?.Groups?.map((group) => group.GroupId), [standard?.GroupId]);
    await call("DeleteSecurityGroup", { GroupId });
    for (
      const refusal of [
        refused("AuthFailure", "AssignPrivateIpAddresses", {
          NetworkInterfaceId: eni?.NetworkInterfaceId,
          SecondaryPrivateIpAddressCount: 1,
        }),
        refused("AuthFailure", "UnassignPrivateIpAddresses", {
          NetworkInterfaceId: eni?.NetworkInterfaceId,
          PrivateIpAddresses: ["10.5.0.9"],
        }),
        refused("AuthFailure", "ModifyNetworkInterfaceAttribute", {
          NetworkInterfaceId: eni?.NetworkInterfaceId,
          Groups: [standard?.GroupId ?? ""],
        }),
      ]
    ) await refusal;
    await call("DeleteVpcEndpoints", { VpcEndpointIds: [one?.VpcEndpointId ?? ""] });
  });

  await t.step("its states are written small, as programs wait for them", async () => {
    const { VpcEndpoint: one } = await call("CreateVpcEndpoint", s3);
    assert.equal(one?.State as string, "pending");
    await ec2.vpcd.network.records.settled();
    assert.equal(await state(one?.VpcEndpointId), "available");
    const { VpcEndpoints: found = [] } = await call("DescribeVpcEndpoints", {
      Filters: filter("vpc-endpoint-state", "available"),
    });
    assert.deepEqual(found.map((has) => has.VpcEndpointId), [one?.VpcEndpointId]);
    await call("DeleteVpcEndpoints", { VpcEndpointIds: [one?.VpcEndpointId ?? ""] });
    await ec2.vpcd.network.records.settled();
    assert.equal(await state(one?.VpcEndpointId), "deleted");

    const { ServiceConfiguration: service } = await call("CreateVpcEndpointServiceConfiguration", {
      NetworkLoadBalancerArns: [
        `arn:aws:elasticloadbalancing:${region}:123456789012:loadbalancer/net/a/0123456789abcdef`,
      ],
      AcceptanceRequired: true,
    });
    await call("ModifyVpcEndpointServicePermissions", {
      ServiceId: service?.ServiceId,
      AddAllowedPrincipals: [`arn:aws:iam::${otherAccount}:root`],
    });
    const { Vpc: theirs } = await other.call("CreateVpc", { CidrBlock: "10.9.0.0/16" });
    const { VpcEndpoint: waiting } = await other.call("CreateVpcEndpoint", {
      VpcId: theirs?.VpcId,
      VpcEndpointType: "Interface",
      ServiceName: service?.ServiceName,
    });
    assert.equal(waiting?.State as string, "pendingAcceptance");
    const { VpcEndpointConnections: connections = [] } = await call(
      "DescribeVpcEndpointConnections",
      { Filters: filter("vpc-endpoint-state", "pendingAcceptance") },
    );
    assert.deepEqual(
      connections.map((has) => has.VpcEndpointState as string),
      ["pendingAcceptance"],
    );
  });
});
