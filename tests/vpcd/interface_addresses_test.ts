/** Addresses of interfaces: each is of its subnet and one interface's, however it is asked for. */
import assert from "node:assert/strict";
import { startScenario } from "../kit/ec2_scenario.ts";
import { dualNetwork } from "./one_network.ts";

Deno.test("an address is of its subnet and one interface's", async (t) => {
  await using ec2 = await startScenario();
  const { call, refused } = ec2;
  const { VpcId, SubnetId, six } = await dualNetwork(ec2, "10.5.0.0/28");
  const inSix = (host: string) => six.replace("::/64", `::${host}`);

  await t.step("no interface has fewer addresses than one, or more than it may", async () => {
    for (const SecondaryPrivateIpAddressCount of [-1, -5]) {
      await refused("InvalidParameterValue", "CreateNetworkInterface", {
        SubnetId,
        SecondaryPrivateIpAddressCount,
      });
    }
    await refused("InsufficientFreeAddressesInSubnet", "CreateNetworkInterface", {
      SubnetId,
      SecondaryPrivateIpAddressCount: 60_000,
    });
    for (const Ipv6AddressCount of [-1, 51, 2_000_000_000]) {
      await refused("InvalidParameterValue", "CreateNetworkInterface", {
        SubnetId,
        Ipv6AddressCount,
      });
    }
  });

  await t.step("IPv6 addresses are checked at creation as later", async () => {
    for (const Ipv6Address of ["no address", "2001:db8::1", "10.5.0.9"]) {
      await refused("InvalidParameterValue", "CreateNetworkInterface", {
        SubnetId,
        Ipv6Addresses: [{ Ipv6Address }],
      });
    }
    const twice = [inSix("aa"), inSix("00aa")].map((Ipv6Address) => ({ Ipv6Address }));
    await refused("InvalidParameterValue", "CreateNetworkInterface", {
      SubnetId,
      Ipv6Addresses: twice,
    });
    const { NetworkInterface: one } = await call("CreateNetworkInterface", {
      SubnetId,
      Ipv6Addresses: [{ Ipv6Address: inSix("00AA") }],
    });
    assert.equal(one?.Ipv6Addresses?.[0]?.Ipv6Address, inSix("aa"));
    await refused("InvalidIPAddress.InUse", "CreateNetworkInterface", {
      SubnetId,
      Ipv6Addresses: [{ Ipv6Address: inSix("aa") }],
    });
    const NetworkInterfaceId = one?.NetworkInterfaceId;
    await refused("InvalidParameterValue", "AssignIpv6Addresses", {
      NetworkInterfaceId,
      Ipv6Addresses: [inSix("bb"), inSix("bb")],
    });
    await refused("InvalidParameterValue", "AssignIpv6Addresses", {
      NetworkInterfaceId,
      Ipv6AddressCount: 50,
    });
    await call("DeleteNetworkInterface", { NetworkInterfaceId });
  });

  await t.step("a reserved block is given to nobody who has not asked for it", async () => {
    const { Subnet: small } = await call("CreateSubnet", { VpcId, CidrBlock: "10.5.1.0/28" });
    const { SubnetCidrReservation: kept } = await call("CreateSubnetCidrReservation", {
      SubnetId: small?.SubnetId,
      Cidr: "10.5.1.8/29",
      ReservationType: "explicit",
    });
    const made: string[] = [];
    for (let count = 0; count < 4; count++) {
      const { NetworkInterface: one } = await call("CreateNetworkInterface", {
        SubnetId: small?.SubnetId,
      });
      made.push(one?.PrivateIpAddress ?? "");
    }
    assert.deepEqual(made.sort(), ["10.5.1.4", "10.5.1.5", "10.5.1.6", "10.5.1.7"]);
    await refused("InsufficientFreeAddressesInSubnet", "CreateNetworkInterface", {
      SubnetId: small?.SubnetId,
    });
    await call("CreateNetworkInterface", {
      SubnetId: small?.SubnetId,
      PrivateIpAddress: "10.5.1.9",
    });
    await call("DeleteSubnetCidrReservation", {
      SubnetCidrReservationId: kept?.SubnetCidrReservationId,
    });
    await call("CreateNetworkInterface", { SubnetId: small?.SubnetId });
  });

  await t.step("a primary address is nobody else's to take, and none is given twice", async () => {
    const { NetworkInterface: one } = await call("CreateNetworkInterface", { SubnetId });
    const { NetworkInterface: other } = await call("CreateNetworkInterface", { SubnetId });
    await refused("InvalidParameterValue", "AssignPrivateIpAddresses", {
      NetworkInterfaceId: other?.NetworkInterfaceId,
      PrivateIpAddresses: [one?.PrivateIpAddress ?? ""],
      AllowReassignment: true,
    });
    const { Subnets: [now] = [] } = await call("DescribeSubnets", { SubnetIds: [SubnetId] });
    assert.equal(now?.AvailableIpAddressCount, 9);
    const taken = [one?.PrivateIpAddress, other?.PrivateIpAddress];
    const free = Array.from({ length: 11 }, (_, at) => `10.5.0.${at + 4}`)
      .find((address) => !taken.includes(address)) ?? "";
    await refused("InvalidParameterValue", "AssignPrivateIpAddresses", {
      NetworkInterfaceId: one?.NetworkInterfaceId,
      PrivateIpAddresses: [free, free],
    });
    for (const eni of [one, other]) {
      await call("DeleteNetworkInterface", { NetworkInterfaceId: eni?.NetworkInterfaceId });
    }
  });

  await t.step("a NAT gateway takes no address that is not there to be taken", async () => {
    const { NetworkInterface: one } = await call("CreateNetworkInterface", { SubnetId });
    const { NatGateway: nat } = await call("CreateNatGateway", {
      SubnetId,
      ConnectivityType: "private",
    });
    const NatGatewayId = nat?.NatGatewayId;
    const held = one?.PrivateIpAddress ?? "";
    for (
      const [code, PrivateIpAddresses] of [
        ["InvalidIPAddress.InUse", [held]],
        ["InvalidParameterValue", ["10.5.0.2"]],
        ["InvalidParameterValue", ["192.0.2.1"]],
        ["InvalidParameterValue", ["no address"]],
      ] as const
    ) {
      await refused(code, "AssignPrivateNatGatewayAddress", {
        NatGatewayId,
        PrivateIpAddresses: [...PrivateIpAddresses],
      });
    }
    await call("DeleteNatGateway", { NatGatewayId });
    await call("DeleteNetworkInterface", { NetworkInterfaceId: one?.NetworkInterfaceId });
  });
});
