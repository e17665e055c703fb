/**
 * From a VPC to an instance in it and back, as users do it: the SDK over HTTPS, a real gateway, vpcd,
 * compute and QEMU. The guest has an empty disk, so that nothing waits for a boot.
 */
import {
  EC2Client,
  waitUntilInstanceRunning,
  waitUntilInstanceStopped,
  waitUntilInstanceTerminated,
} from "@aws-sdk/client-ec2";
import * as sdk from "@aws-sdk/client-ec2";
import assert from "node:assert/strict";
import { accountQuotas } from "../../services/compute/contract.ts";
import { startTestGateway, testAccount } from "../kit/gateway.ts";
import { clientOptions } from "../kit/sdk_calls.ts";
import { blankDisk, smallest } from "./launches.ts";
import { imageId, startNode } from "./node.ts";
import { until } from "../kit/until.ts";

Deno.test("instances live in the subnets, groups and interfaces that a launch names", async () => {
  await using stack = new AsyncDisposableStack();
  const disk = await blankDisk();
  stack.defer(() => Deno.remove(disk));
  const stand = stack.use(await startTestGateway());
  stack.use(
    await startNode({
      disk,
      on: stand.nats,
      owner: testAccount,
      bounds: { shutdown_ms: 300 },
    }),
  );
  const ec2 = new EC2Client(clientOptions(stand));
  stack.defer(() => ec2.destroy());
  const refused = (name: string, work: Promise<unknown>) => assert.rejects(work, { name });
  const waiting = { client: ec2, maxWaitTime: 90, minDelay: 1, maxDelay: 1 };

  const { Vpc: vpc } = await ec2.send(new sdk.CreateVpcCommand({ CidrBlock: "10.20.0.0/16" }));
  const VpcId = vpc?.VpcId ?? "";
  const { Subnet: subnet } = await ec2.send(
    new sdk.CreateSubnetCommand({ VpcId, CidrBlock: "10.20.1.0/24" }),
  );
  const SubnetId = subnet?.SubnetId ?? "";
  const { GroupId = "" } = await ec2.send(
    new sdk.CreateSecurityGroupCommand({ VpcId, GroupName: "closed", Description: "no way in" }),
  );
  const base = { ImageId: imageId, InstanceType: smallest as "t2.nano", MinCount: 1, MaxCount: 1 };
  const launch = (more: Partial<sdk.RunInstancesCommandInput>) =>
    ec2.send(new sdk.RunInstancesCommand({ ...base, ...more }));
  await refused("InvalidSubnetID.NotFound", launch({ SubnetId: "subnet-0123456789abcdef0" }));
  await refused(
    "InvalidGroup.NotFound",
    launch({ SubnetId, SecurityGroupIds: ["sg-0123456789abcdef0"] }),
  );
  await refused("InvalidParameterValue", launch({ SubnetId, PrivateIpAddress: "10.20.2.10" }));
  await refused("InvalidPlacementGroup.Unknown", launch({ Placement: { GroupName: "none" } }));
  await refused("DryRunOperation", launch({ SubnetId, DryRun: true }));
  const operator = await stand.nats.bus("operator");
  for (const value of [0, 64]) {
    await operator.ask(accountQuotas, {
      account_id: testAccount,
      set: { code: "L-1216C47A", value },
    });
    if (value === 0) await refused("VcpuLimitExceeded", launch({ SubnetId }));
  }

  await ec2.send(
    new sdk.CreateLaunchTemplateCommand({
      LaunchTemplateName: "small",
      LaunchTemplateData: {
        ImageId: imageId,
        InstanceType: smallest as "t2.nano",
        DisableApiTermination: true,
      },
    }),
  );
  const { Instances: [made] = [] } = await ec2.send(
    new sdk.RunInstancesCommand({
      LaunchTemplate: { LaunchTemplateName: "small" },
      MinCount: 1,
      MaxCount: 1,
      SubnetId,
      SecurityGroupIds: [GroupId],
      PrivateIpAddress: "10.20.1.10",
    }),
  );
  const id = made?.InstanceId ?? "";
  assert.deepEqual(
    [made?.PrivateIpAddress, made?.SubnetId, made?.VpcId, made?.SecurityGroups?.[0]?.GroupName],
    ["10.20.1.10", SubnetId, VpcId, "closed"],
  );
  const InstanceIds = [id];
  await waitUntilInstanceRunning(waiting, { InstanceIds });
  const { NetworkInterfaces: [eni] = [] } = await ec2.send(
    new sdk.DescribeNetworkInterfacesCommand({
      Filters: [{ Name: "attachment.instance-id", Values: [id] }],
    }),
  );
  assert.equal(eni?.NetworkInterfaceId, made?.NetworkInterfaces?.[0]?.NetworkInterfaceId);
  assert.equal(eni?.Status, "in-use");
  await refused("DependencyViolation", ec2.send(new sdk.DeleteSubnetCommand({ SubnetId })));
  await refused("DependencyViolation", ec2.send(new sdk.DeleteSecurityGroupCommand({ GroupId })));

  const address = await ec2.send(new sdk.AllocateAddressCommand({}));
  await ec2.send(
    new sdk.AssociateAddressCommand({ AllocationId: address.AllocationId, InstanceId: id }),
  );
  const shows = async () =>
    (await ec2.send(
      new sdk.DescribeInstancesCommand({
        Filters: [{ Name: "ip-address", Values: [address.PublicIp ?? ""] }],
      }),
    )).Reservations?.[0]?.Instances?.[0];
  await until("the instance shows its elastic address", async () => {
    return (await shows())?.PublicIpAddress === address.PublicIp;
  });
  const { InstanceStatuses: [status] = [] } = await ec2.send(
    new sdk.DescribeInstanceStatusCommand({ InstanceIds }),
  );
  assert.equal(status?.InstanceState?.Name, "running");
  await ec2.send(new sdk.GetConsoleOutputCommand({ InstanceId: id }));
  await ec2.send(new sdk.RebootInstancesCommand({ InstanceIds }));
  await ec2.send(new sdk.StopInstancesCommand({ InstanceIds, Force: true }));
  await waitUntilInstanceStopped(waiting, { InstanceIds });
  await ec2.send(new sdk.StartInstancesCommand({ InstanceIds }));
  await waitUntilInstanceRunning(waiting, { InstanceIds });
  const terminate = () => ec2.send(new sdk.TerminateInstancesCommand({ InstanceIds }));
  await refused("OperationNotPermitted", terminate());
  await ec2.send(
    new sdk.ModifyInstanceAttributeCommand({
      InstanceId: id,
      DisableApiTermination: { Value: false },
    }),
  );
  await terminate();
  await waitUntilInstanceTerminated(waiting, { InstanceIds });
  const { NetworkInterfaces: left = [] } = await ec2.send(
    new sdk.DescribeNetworkInterfacesCommand({}),
  );
  assert.deepEqual(left, [], "the interface went with the instance");
  await ec2.send(new sdk.ReleaseAddressCommand({ AllocationId: address.AllocationId }));
  await ec2.send(new sdk.DeleteSecurityGroupCommand({ GroupId }));
  await ec2.send(new sdk.DeleteSubnetCommand({ SubnetId }));
  await ec2.send(new sdk.DeleteVpcCommand({ VpcId }));
});
