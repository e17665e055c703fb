/** What two accounts share: addresses that change hands, peerings that both sides decide on, groups across them. */
import assert from "node:assert/strict";
import { elasticAddress } from "../../services/vpcd/kinds/elastic_addresses.ts";
import { startScenario } from "../kit/ec2_scenario.ts";
import { otherAccount, testAccount } from "../kit/gateway.ts";

Deno.test("each of two accounts decides on what is its own", async (t) => {
  await using ec2 = await startScenario();
  const { call, refused, other } = ec2;
  const { records } = ec2.vpcd.network;
  const { Vpc: mine } = await call("CreateVpc", { CidrBlock: "10.5.0.0/16" });
  const { Vpc: theirs } = await other.call("CreateVpc", { CidrBlock: "10.8.0.0/16" });
  const VpcId = mine?.VpcId ?? "";
  const there = theirs?.VpcId ?? "";

  await t.step("an address in use does not change hands", async () => {
    const { Subnet: subnet } = await call("CreateSubnet", { VpcId, CidrBlock: "10.5.0.0/24" });
    const { NetworkInterface: eni } = await call("CreateNetworkInterface", {
      SubnetId: subnet?.SubnetId,
    });
    const { AllocationId, PublicIp: Address } = await call("AllocateAddress", {});
    await call("EnableAddressTransfer", { AllocationId, TransferAccountId: otherAccount });
    await call("AssociateAddress", {
      AllocationId,
      NetworkInterfaceId: eni?.NetworkInterfaceId,
    });
    await other.refused("InvalidTransfer.AddressAssociated", "AcceptAddressTransfer", { Address });
    await call("DeleteNetworkInterface", { NetworkInterfaceId: eni?.NetworkInterfaceId });
    await other.call("AcceptAddressTransfer", { Address });
    assert.equal(records.findAnywhere(elasticAddress, Address ?? "").length, 1);
  });

  await t.step("an address that cannot be taken stays where it is", async () => {
    const { AllocationId = "", PublicIp: Address } = await call("AllocateAddress", {});
    await call("EnableAddressTransfer", { AllocationId, TransferAccountId: otherAccount });
    const most = elasticAddress.quota?.most ?? 0;
    const filler = Array.from(
      { length: most - records.count(otherAccount, elasticAddress) },
      (_, at) => ({ PublicIp: `198.51.${at >> 8}.${at & 255}`, Domain: "vpc" as const }),
    );
    const made = await Promise.all(
      filler.map((shape) => records.create(elasticAddress, otherAccount, shape)),
    );
    await other.refused("AddressLimitExceeded", "AcceptAddressTransfer", { Address });
    assert.equal(records.get(elasticAddress, testAccount, AllocationId)?.shape.PublicIp, Address);
    await Promise.all(made.map((one) => records.remove(elasticAddress, otherAccount, one.id)));
    await other.call("AcceptAddressTransfer", { Address });
  });

  await t.step("a transfer that was cut off is completed by repeating it", async () => {
    const { AllocationId = "", PublicIp: Address = "" } = await call("AllocateAddress", {});
    await call("EnableAddressTransfer", { AllocationId, TransferAccountId: otherAccount });
    const offered = records.get(elasticAddress, testAccount, AllocationId);
    const { AddressTransfer: first } = await other.call("AcceptAddressTransfer", { Address });
    // As a crash before the last write leaves it.
    await records.create(elasticAddress, testAccount, offered?.shape ?? {}, { id: AllocationId });
    const { AddressTransfer: again } = await other.call("AcceptAddressTransfer", { Address });
    assert.equal(again?.AllocationId, first?.AllocationId);
    assert.deepEqual(
      records.findAnywhere(elasticAddress, Address).map((one) => one.account_id),
      [otherAccount],
    );
  });

  await t.step("both accept of each other at once", async () => {
    const offer = async (from: typeof other, TransferAccountId: string) => {
      const { AllocationId, PublicIp: Address } = await from.call("AllocateAddress", {});
      await from.call("EnableAddressTransfer", { AllocationId, TransferAccountId });
      return Address;
    };
    for (let round = 0; round < 5; round++) {
      const [ours, others] = [await offer(ec2, otherAccount), await offer(other, testAccount)];
      await Promise.all([
        other.call("AcceptAddressTransfer", { Address: ours }),
        call("AcceptAddressTransfer", { Address: others }),
      ]);
    }
  });

  let VpcPeeringConnectionId = "";
  await t.step(
    "a VPC's blocks are told to who asks for a peering once it is accepted",
    async () => {
      const { VpcPeeringConnection: asked } = await call("CreateVpcPeeringConnection", {
        VpcId,
        PeerVpcId: there,
        PeerOwnerId: otherAccount,
      });
      VpcPeeringConnectionId = asked?.VpcPeeringConnectionId ?? "";
      assert.equal(asked?.AccepterVpcInfo?.CidrBlock, undefined);
      assert.equal(asked?.AccepterVpcInfo?.CidrBlockSet, undefined);
      assert.equal(asked?.RequesterVpcInfo?.CidrBlock, "10.5.0.0/16");
      await other.call("AssociateVpcCidrBlock", { VpcId: there, CidrBlock: "10.9.0.0/16" });
      const { VpcPeeringConnection: active } = await other.call("AcceptVpcPeeringConnection", {
        VpcPeeringConnectionId,
      });
      assert.deepEqual(
        active?.AccepterVpcInfo?.CidrBlockSet?.map((one) => one.CidrBlock),
        ["10.8.0.0/16", "10.9.0.0/16"],
      );
    },
  );

  await t.step("a peering to a VPC that is gone is not accepted", async () => {
    const { Vpc: brief } = await other.call("CreateVpc", { CidrBlock: "10.77.0.0/16" });
    const { VpcPeeringConnection: asked } = await call("CreateVpcPeeringConnection", {
      VpcId,
      PeerVpcId: brief?.VpcId,
      PeerOwnerId: otherAccount,
    });
    await other.call("DeleteVpc", { VpcId: brief?.VpcId });
    await other.refused("InvalidVpcID.NotFound", "AcceptVpcPeeringConnection", {
      VpcPeeringConnectionId: asked?.VpcPeeringConnectionId,
    });
  });

  await t.step("each side of a peering sets its own options", async () => {
    const wish = { AllowDnsResolutionFromRemoteVpc: true };
    await refused("OperationNotPermitted", "ModifyVpcPeeringConnectionOptions", {
      VpcPeeringConnectionId,
      AccepterPeeringConnectionOptions: wish,
    });
    await other.refused("OperationNotPermitted", "ModifyVpcPeeringConnectionOptions", {
      VpcPeeringConnectionId,
      RequesterPeeringConnectionOptions: wish,
    });
    await other.call("ModifyVpcPeeringConnectionOptions", {
      VpcPeeringConnectionId,
      AccepterPeeringConnectionOptions: wish,
    });
  });

  await t.step("both sides of a peering route to it", async () => {
    const { RouteTable: table } = await other.call("CreateRouteTable", { VpcId: there });
    const RouteTableId = table?.RouteTableId ?? "";
    await other.call("CreateRoute", {
      RouteTableId,
      DestinationCidrBlock: "10.5.0.0/16",
      VpcPeeringConnectionId,
    });
  });

  await t.step("a rule names a group of another account across a peering only", async () => {
    const { GroupId: web } = await call("CreateSecurityGroup", {
      GroupName: "web",
      Description: "of the one",
      VpcId,
    });
    const theirGroup = async (of: string | undefined, GroupName: string) =>
      (await other.call("CreateSecurityGroup", { GroupName, Description: "x", VpcId: of })).GroupId;
    const rule = (GroupId: string | undefined, UserId = otherAccount) => ({
      GroupId: web,
      IpPermissions: [{ IpProtocol: "-1", UserIdGroupPairs: [{ GroupId, UserId }] }],
    });
    await call("AuthorizeSecurityGroupIngress", rule(await theirGroup(there, "db")));
    const { Vpc: apart } = await other.call("CreateVpc", { CidrBlock: "10.66.0.0/16" });
    for (
      const wrong of [
        rule(await theirGroup(apart?.VpcId, "apart")),
        rule("sg-0123456789abcdef0"),
        rule("no group"),
        rule(web, "nobody"),
      ]
    ) {
      await refused("InvalidGroup.NotFound", "AuthorizeSecurityGroupIngress", wrong);
    }
  });
});
