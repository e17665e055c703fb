/** A request names things by ids: an id of something else, or any other text of a record, names nothing. */
import assert from "node:assert/strict";
import { newId } from "../../services/resources/ids.ts";
import { claimInterfaces } from "../../services/vpcd/contract.ts";
import { startScenario } from "../kit/ec2_scenario.ts";
import { testAccount } from "../kit/gateway.ts";
import { dualNetwork } from "./one_network.ts";

Deno.test("an id of something else names nothing", async (t) => {
  await using ec2 = await startScenario();
  const { call, refused } = ec2;
  const { VpcId, SubnetId } = await dualNetwork(ec2, "10.5.0.0/24");
  const instance_id = newId("i-");
  const [held] = await ec2.stand.bus.ask(claimInterfaces, {
    account_id: testAccount,
    instance_id,
    wishes: [{ device_index: 0, subnet_id: SubnetId, delete_on_termination: true }],
  });
  const { NetworkInterface: free } = await call("CreateNetworkInterface", { SubnetId });
  const NetworkInterfaceId = free?.NetworkInterfaceId ?? "";

  await t.step("no interface is attached to a subnet, a group or an address", async () => {
    for (const InstanceId of [SubnetId, VpcId, held?.private_ip, held?.groups[0]?.id]) {
      await refused("InvalidInstanceID.NotFound", "AttachNetworkInterface", {
        NetworkInterfaceId,
        InstanceId,
        DeviceIndex: 1,
      });
    }
  });

  await t.step("no interface is detached by its subnet", async () => {
    await call("AttachNetworkInterface", {
      NetworkInterfaceId,
      InstanceId: instance_id,
      DeviceIndex: 1,
    });
    for (
      const AttachmentId of [SubnetId, free?.PrivateIpAddress, instance_id, held?.groups[0]?.id]
    ) {
      await refused("InvalidAttachmentID.NotFound", "DetachNetworkInterface", { AttachmentId });
    }
  });

  await t.step("no elastic address leads to a subnet, or is let go by its pool", async () => {
    const { AllocationId } = await call("AllocateAddress", {});
    await refused("InvalidInstanceID.NotFound", "AssociateAddress", {
      AllocationId,
      InstanceId: SubnetId,
    });
    await call("AssociateAddress", { AllocationId, InstanceId: instance_id });
    for (const AssociationId of ["amazon", held?.interface_id, instance_id]) {
      await refused("InvalidAssociationID.NotFound", "DisassociateAddress", { AssociationId });
    }
    const { Addresses: [address] = [] } = await call("DescribeAddresses", {});
    assert.equal(address?.NetworkInterfaceId, held?.interface_id);
  });

  await t.step("no route leads to a subnet", async () => {
    const { RouteTable: table } = await call("CreateRouteTable", { VpcId });
    await refused("InvalidInstanceID.NotFound", "CreateRoute", {
      RouteTableId: table?.RouteTableId,
      DestinationCidrBlock: "9.0.0.0/8",
      InstanceId: SubnetId,
    });
  });

  await t.step("no subnet loses its IPv6 block by its VPC, and no VPC its own", async () => {
    await refused("InvalidSubnetCidrBlockAssociationID.NotFound", "DisassociateSubnetCidrBlock", {
      AssociationId: VpcId,
    });
    const { DhcpOptions: options } = await call("CreateDhcpOptions", {
      DhcpConfigurations: [{ Key: "domain-name", Values: ["example.com"] }],
    });
    await call("AssociateDhcpOptions", { VpcId, DhcpOptionsId: options?.DhcpOptionsId });
    await refused("InvalidVpcCidrBlockAssociationID.NotFound", "DisassociateVpcCidrBlock", {
      AssociationId: options?.DhcpOptionsId,
    });
    const { Subnets: [now] = [] } = await call("DescribeSubnets", { SubnetIds: [SubnetId] });
    assert.equal(now?.Ipv6CidrBlockAssociationSet?.length, 1);
  });
});
