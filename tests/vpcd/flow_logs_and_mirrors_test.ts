/** Flow logs, traffic mirrors and connect endpoints as users call them over HTTPS. */
import assert from "node:assert/strict";
import { CreateFlowLogsCommand } from "@aws-sdk/client-ec2";
import { AwsError, unavailable } from "../../services/aws/errors.ts";
import { startScenario } from "../kit/ec2_scenario.ts";
import { filter, oneNetwork } from "./one_network.ts";

Deno.test("flow logs, mirrors and connect endpoints follow EC2's rules", async (t) => {
  await using ec2 = await startScenario();
  const { call, refused } = ec2;
  const { VpcId, SubnetId } = await oneNetwork(ec2);
  const secondSubnet = async () =>
    (await call("CreateSubnet", { VpcId, CidrBlock: "10.5.1.0/24" })).Subnet?.SubnetId ?? "";

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
    const again = { ...wanted, ClientToken: "once" };
    const { FlowLogIds: [once] = [] } = await call("CreateFlowLogs", again);
    const repeated = await ec2.client.send(new CreateFlowLogsCommand(again));
    assert.deepEqual(repeated.FlowLogIds, [once]);
    await refused("IdempotentParameterMismatch", "CreateFlowLogs", {
      ...again,
      LogGroupName: "others",
    });
    await refused("FlowLogAlreadyExists", "CreateFlowLogs", { ...again, ClientToken: "twice" });
    await call("DeleteFlowLogs", { FlowLogIds: [once ?? ""] });
    await refused("InvalidFlowLogId.NotFound", "DeleteFlowLogs", { FlowLogIds });

    const other = await secondSubnet();
    // The quota is reached with the second of two.
    const { records } = ec2.vpcd.network;
    const { requireRoom } = records;
    let asked = 0;
    records.requireRoom = (one, account) => {
      if (++asked === 2) throw new AwsError("ResourceLimitExceeded", "No more.");
      requireRoom.call(records, one, account);
    };
    const both = {
      ...wanted,
      ResourceType: "Subnet" as const,
      ResourceIds: [SubnetId, other],
      ClientToken: "thrice",
    };
    await refused("ResourceLimitExceeded", "CreateFlowLogs", both);
    assert.deepEqual((await call("DescribeFlowLogs", {})).FlowLogs, []);

    // A try that came to no answer, and the next one, which is refused.
    asked = 0;
    records.requireRoom = (one, account) => {
      if (++asked === 2) throw unavailable("The state store");
      requireRoom.call(records, one, account);
    };
    const cut = { ...both, ClientToken: "cut-off" };
    await refused("ServiceUnavailable", "CreateFlowLogs", cut);
    records.requireRoom = () => {
      throw new AwsError("ResourceLimitExceeded", "No more.");
    };
    await refused("ResourceLimitExceeded", "CreateFlowLogs", cut);
    assert.deepEqual((await call("DescribeFlowLogs", {})).FlowLogs, []);

    // Without a token a try is its own.
    asked = 0;
    records.requireRoom = (one, account) => {
      if (++asked === 2) throw new AwsError("ResourceLimitExceeded", "No more.");
      requireRoom.call(records, one, account);
    };
    await refused("ResourceLimitExceeded", "CreateFlowLogs", { ...both, ClientToken: "" });
    assert.deepEqual((await call("DescribeFlowLogs", {})).FlowLogs, []);
    records.requireRoom = requireRoom;
    const { FlowLogIds: two = [] } = await call("CreateFlowLogs", both);
    assert.equal(two.length, 2);

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
