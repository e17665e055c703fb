/** Elastic addresses: each leads to one private address, and both sides say so. */
import assert from "node:assert/strict";
import { newId } from "../../services/resources/ids.ts";
import {
  claimInterfaces,
  interfacesChanged,
  releaseInterfaces,
} from "../../services/vpcd/contract.ts";
import { elasticAddress } from "../../services/vpcd/kinds/elastic_addresses.ts";
import { networkInterface } from "../../services/vpcd/kinds/interfaces.ts";
import { startScenario } from "../kit/ec2_scenario.ts";
import { testAccount } from "../kit/gateway.ts";
import { until } from "../kit/until.ts";
import { filter, oneNetwork } from "./one_network.ts";

Deno.test("an elastic address leads to one private address, and both sides say so", async (t) => {
  await using ec2 = await startScenario();
  const { call, refused } = ec2;
  const { SubnetId } = await oneNetwork(ec2);
  const allocated = async () => (await call("AllocateAddress", {})).AllocationId ?? "";
  const address = async (AllocationId: string) =>
    (await call("DescribeAddresses", { AllocationIds: [AllocationId] })).Addresses?.[0];
  const eniOf = async (NetworkInterfaceId: string) =>
    (await call("DescribeNetworkInterfaces", { NetworkInterfaceIds: [NetworkInterfaceId] }))
      .NetworkInterfaces?.[0];
  const made = async () => {
    const { NetworkInterface: one } = await call("CreateNetworkInterface", { SubnetId });
    return one?.NetworkInterfaceId ?? "";
  };

  await t.step("the address of a NAT gateway is the gateway's alone", async () => {
    const AllocationId = await allocated();
    const { NatGateway: nat } = await call("CreateNatGateway", { SubnetId, AllocationId });
    const NatGatewayId = nat?.NatGatewayId ?? "";
    const own = nat?.NatGatewayAddresses?.[0];
    const shown = await address(AllocationId);
    assert.deepEqual(
      [shown?.AssociationId, shown?.NetworkInterfaceId, shown?.PrivateIpAddress],
      [own?.AssociationId, own?.NetworkInterfaceId, own?.PrivateIp],
    );
    const eni = await eniOf(own?.NetworkInterfaceId ?? "");
    assert.equal(eni?.Association?.AllocationId, AllocationId);
    const NetworkInterfaceId = await made();
    await refused("AuthFailure", "AssociateAddress", { AllocationId, NetworkInterfaceId });
    await refused("AuthFailure", "DisassociateAddress", { AssociationId: own?.AssociationId });
    const second = await allocated();
    await refused("AuthFailure", "AssociateAddress", {
      AllocationId: second,
      NetworkInterfaceId: own?.NetworkInterfaceId,
    });
    await refused("InvalidParameterValue", "AssociateNatGatewayAddress", {
      NatGatewayId,
      AllocationIds: [second, second],
    });
    const { NatGatewayAddresses: both } = await call("AssociateNatGatewayAddress", {
      NatGatewayId,
      AllocationIds: [second],
    });
    assert.equal((await address(second))?.AssociationId, both?.[1]?.AssociationId);
    await refused("Resource.AlreadyAssociated", "CreateNatGateway", {
      SubnetId,
      AllocationId: second,
    });
    await call("DisassociateNatGatewayAddress", {
      NatGatewayId,
      AssociationIds: [both?.[1]?.AssociationId ?? ""],
    });
    assert.equal((await address(second))?.AssociationId, undefined);
    await call("AssociateAddress", { AllocationId: second, NetworkInterfaceId });
    await call("DeleteNatGateway", { NatGatewayId });
    assert.equal((await address(AllocationId))?.AssociationId, undefined);
    await until(
      "the gateway's end",
      async () =>
        (await call("DescribeNatGateways", { NatGatewayIds: [NatGatewayId] })).NatGateways?.[0]
          ?.State === "deleted",
    );
    await call("ReleaseAddress", { AllocationId });
    await call("DeleteNetworkInterface", { NetworkInterfaceId });
    await call("ReleaseAddress", { AllocationId: second });
  });

  await t.step("it says of which instance its interface is now", async () => {
    const instance_id = newId("i-");
    const owner = { account_id: testAccount, instance_id };
    const wish = { subnet_id: SubnetId, device_index: 0, delete_on_termination: true };
    await ec2.stand.bus.ask(claimInterfaces, { ...owner, wishes: [wish] });
    const told: string[] = [];
    const listener = ec2.stand.bus.listen<{ instance_id: string }>(
      interfacesChanged,
      (event) => void told.push(event.instance_id),
    );
    const AllocationId = await allocated();
    const NetworkInterfaceId = await made();
    await call("AssociateAddress", { AllocationId, NetworkInterfaceId });
    assert.equal((await address(AllocationId))?.InstanceId, undefined);
    const { AttachmentId } = await call("AttachNetworkInterface", {
      NetworkInterfaceId,
      InstanceId: instance_id,
      DeviceIndex: 1,
    });
    assert.equal((await address(AllocationId))?.InstanceId, instance_id);
    const { Addresses: [found] = [] } = await call("DescribeAddresses", {
      Filters: filter("instance-id", instance_id),
    });
    assert.equal(found?.AllocationId, AllocationId);
    await until("told of what came", () => told.length > 0);
    told.length = 0;
    await call("DetachNetworkInterface", { AttachmentId });
    assert.equal((await address(AllocationId))?.InstanceId, undefined);
    await until("told of what went", () => told.includes(instance_id));
    await listener.close();
    await ec2.stand.bus.ask(releaseInterfaces, owner);
    await call("DeleteNetworkInterface", { NetworkInterfaceId });
    await call("ReleaseAddress", { AllocationId });
  });

  await t.step("it moves with its private address, and is let go with it", async () => {
    const [one, other] = [await made(), await made()];
    await call("AssignPrivateIpAddresses", {
      NetworkInterfaceId: one,
      PrivateIpAddresses: ["10.5.0.77"],
    });
    const AllocationId = await allocated();
    const { AssociationId } = await call("AssociateAddress", {
      AllocationId,
      NetworkInterfaceId: one,
      PrivateIpAddress: "10.5.0.77",
    });
    await call("AssignPrivateIpAddresses", {
      NetworkInterfaceId: other,
      PrivateIpAddresses: ["10.5.0.77"],
      AllowReassignment: true,
    });
    const moved = await address(AllocationId);
    assert.deepEqual([moved?.NetworkInterfaceId, moved?.AssociationId], [other, AssociationId]);
    const holder = await eniOf(other);
    assert.equal(
      holder?.PrivateIpAddresses?.find((has) => has.PrivateIpAddress === "10.5.0.77")
        ?.Association?.AllocationId,
      AllocationId,
    );
    await call("UnassignPrivateIpAddresses", {
      NetworkInterfaceId: other,
      PrivateIpAddresses: ["10.5.0.77"],
    });
    assert.equal((await address(AllocationId))?.AssociationId, undefined);
    await call("ReleaseAddress", { AllocationId });
  });

  await t.step("an association that was cut off is completed by repeating it", async () => {
    const NetworkInterfaceId = await made();
    const AllocationId = await allocated();
    const { AssociationId } = await call("AssociateAddress", { AllocationId, NetworkInterfaceId });
    // As a crash between the two writes leaves it.
    const { records } = ec2.vpcd.network;
    await records.change(networkInterface, testAccount, NetworkInterfaceId, ({ shape }) => ({
      Association: undefined,
      PrivateIpAddresses: shape.PrivateIpAddresses?.map((one) => ({
        ...one,
        Association: undefined,
      })),
    }));
    assert.equal(
      (await call("AssociateAddress", { AllocationId, NetworkInterfaceId })).AssociationId,
      AssociationId,
    );
    assert.equal((await eniOf(NetworkInterfaceId))?.Association?.AssociationId, AssociationId);
    assert.equal(
      records.get(elasticAddress, testAccount, AllocationId)?.shape.AssociationId,
      AssociationId,
    );
  });
});
