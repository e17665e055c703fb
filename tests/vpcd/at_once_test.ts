/** What may be there once is made once, also by several requests at the same time. */
import assert from "node:assert/strict";
import {
  CreateDefaultSubnetCommand,
  CreateDefaultVpcCommand,
  CreateFlowLogsCommand,
} from "@aws-sdk/client-ec2";
import { startScenario } from "../kit/ec2_scenario.ts";
import { filter } from "./one_network.ts";

const times = [1, 2, 3, 4];

/** The codes with which requests were refused, and "done" for those that were not. */
async function outcomes(requests: readonly Promise<unknown>[]): Promise<string[]> {
  const settled = await Promise.allSettled(requests);
  return settled.map((one) =>
    one.status === "fulfilled" ? "done" : String((one.reason as Error).name)
  ).sort();
}

Deno.test("what may be there once is made once, also by several requests at once", async (t) => {
  await using ec2 = await startScenario();
  const { call, client } = ec2;
  const { Vpcs: [vpc] = [] } = await call("DescribeVpcs", {});
  const VpcId = vpc?.VpcId ?? "";
  const { Subnets: [first] = [] } = await call("DescribeSubnets", {});

  await t.step("a default subnet", async () => {
    await call("DeleteSubnet", { SubnetId: first?.SubnetId });
    const AvailabilityZone = first?.AvailabilityZone;
    const made = await outcomes(
      times.map(() => client.send(new CreateDefaultSubnetCommand({ AvailabilityZone }))),
    );
    const refused = "DefaultSubnetAlreadyExistsInAvailabilityZone";
    assert.deepEqual(made, [refused, refused, refused, "done"]);
    const { Subnets: there = [] } = await call("DescribeSubnets", {
      Filters: filter("vpc-id", VpcId),
    });
    assert.equal(there.length, 1);
  });

  await t.step("a flow log", async () => {
    const wish = {
      ResourceIds: [VpcId],
      ResourceType: "VPC" as const,
      TrafficType: "ALL" as const,
      LogGroupName: "network",
    };
    const made = await outcomes(times.map(() => client.send(new CreateFlowLogsCommand(wish))));
    const refused = "FlowLogAlreadyExists";
    assert.deepEqual(made, [refused, refused, refused, "done"]);
  });

  await t.step("a default VPC", async () => {
    const { FlowLogs: [log] = [] } = await call("DescribeFlowLogs", {});
    await call("DeleteFlowLogs", { FlowLogIds: [log?.FlowLogId ?? ""] });
    const { Subnets: [subnet] = [] } = await call("DescribeSubnets", {});
    await call("DeleteSubnet", { SubnetId: subnet?.SubnetId });
    const { InternetGateways: [gateway] = [] } = await call("DescribeInternetGateways", {});
    const InternetGatewayId = gateway?.InternetGatewayId ?? "";
    await call("DetachInternetGateway", { InternetGatewayId, VpcId });
    await call("DeleteInternetGateway", { InternetGatewayId });
    await call("DeleteVpc", { VpcId });
    const made = await outcomes(times.map(() => client.send(new CreateDefaultVpcCommand({}))));
    const refused = "DefaultVpcAlreadyExists";
    assert.deepEqual(made, [refused, refused, refused, "done"]);
    assert.equal((await call("DescribeVpcs", {})).Vpcs?.length, 1);
  });
});
