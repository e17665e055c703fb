/** What a crash cut off in the middle of a creation is completed at the next start. */
import assert from "node:assert/strict";
import { CreateSecurityGroupCommand } from "@aws-sdk/client-ec2";
import { forgetRulesOfNoGroup } from "../../services/vpcd/families/security_groups.ts";
import type { AnyKind, KindRecord } from "../../services/resources/kind.ts";
import { elasticAddress, freeOf } from "../../services/vpcd/kinds/elastic_addresses.ts";
import { endpoint } from "../../services/vpcd/kinds/endpoints.ts";
import { networkInterface } from "../../services/vpcd/kinds/interfaces.ts";
import { internetGateway } from "../../services/vpcd/kinds/internet_gateways.ts";
import { natGateway } from "../../services/vpcd/kinds/nat_gateways.ts";
import { networkAcl } from "../../services/vpcd/kinds/network_acls.ts";
import { routeTable } from "../../services/vpcd/kinds/route_tables.ts";
import { securityGroup } from "../../services/vpcd/kinds/security_groups.ts";
import { securityGroupRule } from "../../services/vpcd/kinds/security_group_rules.ts";
import { subnet } from "../../services/vpcd/kinds/subnets.ts";
import { vpc } from "../../services/vpcd/kinds/vpcs.ts";
import { startScenario } from "../kit/ec2_scenario.ts";
import { testAccount } from "../kit/gateway.ts";
import { until } from "../kit/until.ts";
import { filter } from "./one_network.ts";

Deno.test("a creation that was cut off is completed at the next start", async (t) => {
  await using ec2 = await startScenario();
  const { call } = ec2;
  const { records } = ec2.vpcd.network;
  const { table } = records;

  /** Writes past what follows from a change, as the disk is found after a crash. */
  const leave = async (one: AnyKind, id: string, shape: object) => {
    const row = table.get(records.of(one).keyOf(testAccount, id));
    assert.ok(row, id);
    const value = { ...row.value, shape: { ...row.value.shape, ...shape } };
    await table.update(row.key, value, row.revision);
  };
  const lose = async (one: AnyKind, ...gone: readonly KindRecord<unknown>[]) => {
    for (const record of gone) await records.of(one).delete(testAccount, record.id);
  };
  /** What a start does. */
  const start = async () => {
    await records.keepHouse();
    await records.settled();
  };
  const made = async (CidrBlock: string) => {
    const { Vpc: one } = await call("CreateVpc", { CidrBlock });
    const VpcId = one?.VpcId ?? "";
    await until("available", () => records.get(vpc, testAccount, VpcId)?.shape.State !== "pending");
    return VpcId;
  };
  const VpcId = await made("10.5.0.0/16");
  const { Subnet: first } = await call("CreateSubnet", { VpcId, CidrBlock: "10.5.0.0/24" });
  const SubnetId = first?.SubnetId ?? "";
  await records.settled();

  await t.step("a VPC with its table, ACL and group", async () => {
    const id = await made("10.6.0.0/16");
    for (const one of [routeTable, networkAcl, securityGroup] as AnyKind[]) {
      await lose(one, ...records.find(one, testAccount, id));
    }
    await leave(vpc, id, { State: "pending" });
    await start();
    assert.equal(records.get(vpc, testAccount, id)?.shape.State, "available");
    await call("CreateSubnet", { VpcId: id, CidrBlock: "10.6.0.0/24" });
    const { RouteTables: [main] = [] } = await call("DescribeRouteTables", {
      Filters: [...filter("vpc-id", id), ...filter("association.main", "true")],
    });
    assert.equal(main?.Routes?.[0]?.DestinationCidrBlock, "10.6.0.0/16");
    const { SecurityGroups: [group] = [] } = await call("DescribeSecurityGroups", {
      Filters: filter("vpc-id", id),
    });
    assert.equal(group?.GroupName, "default");
  });

  await t.step("a subnet with its ACL and name", async () => {
    const [acl] = records.find(networkAcl, testAccount, SubnetId);
    await leave(networkAcl, acl?.id ?? "", { Associations: [] });
    await leave(subnet, SubnetId, { State: "pending", SubnetArn: "arn:aws:ec2:x:y:subnet/" });
    await start();
    const { Subnets: [now] = [] } = await call("DescribeSubnets", { SubnetIds: [SubnetId] });
    assert.equal(now?.State, "available");
    assert.ok(now?.SubnetArn?.endsWith(SubnetId));
    const { NetworkAcls: acls = [] } = await call("DescribeNetworkAcls", {
      Filters: filter("association.subnet-id", SubnetId),
    });
    assert.deepEqual(acls.map((one) => one.NetworkAclId), [acl?.id]);
  });

  await t.step("a NAT gateway with its interface and address", async () => {
    const { AllocationId = "" } = await call("AllocateAddress", {});
    const { NatGateway: nat } = await call("CreateNatGateway", { SubnetId, AllocationId });
    const NatGatewayId = nat?.NatGatewayId ?? "";
    await records.settled();
    const eni = nat?.NatGatewayAddresses?.[0]?.NetworkInterfaceId ?? "";
    await lose(networkInterface, ...records.find(networkInterface, testAccount, SubnetId));
    await leave(elasticAddress, AllocationId, freeOf);
    await leave(natGateway, NatGatewayId, { State: "pending" });
    await start();
    assert.equal(records.get(natGateway, testAccount, NatGatewayId)?.shape.State, "available");
    const { Addresses: [address] = [] } = await call("DescribeAddresses", {
      AllocationIds: [AllocationId],
    });
    assert.equal(address?.NetworkInterfaceId, eni);
    const { NetworkInterfaces: [shown] = [] } = await call("DescribeNetworkInterfaces", {
      NetworkInterfaceIds: [eni],
    });
    assert.equal(shown?.Association?.AllocationId, AllocationId);
    await call("DeleteNatGateway", { NatGatewayId });
    await records.settled();
    assert.equal(records.get(natGateway, testAccount, NatGatewayId), undefined);
  });

  await t.step("an endpoint with its interfaces, and one with its routes", async () => {
    const { VpcEndpoint: inner } = await call("CreateVpcEndpoint", {
      VpcId,
      ServiceName: "com.amazonaws.ap-southeast-2.ec2",
      VpcEndpointType: "Interface",
      SubnetIds: [SubnetId],
    });
    const { RouteTable: routes } = await call("CreateRouteTable", { VpcId });
    const RouteTableId = routes?.RouteTableId ?? "";
    const { VpcEndpoint: outer } = await call("CreateVpcEndpoint", {
      VpcId,
      ServiceName: "com.amazonaws.ap-southeast-2.s3",
      RouteTableIds: [RouteTableId],
    });
    await records.settled();
    const [innerId, outerId] = [inner?.VpcEndpointId ?? "", outer?.VpcEndpointId ?? ""];
    await lose(networkInterface, ...records.find(networkInterface, testAccount, SubnetId));
    await leave(endpoint, innerId, { State: "Pending", NetworkInterfaceIds: [], DnsEntries: [] });
    await leave(endpoint, outerId, { State: "Pending" });
    await leave(routeTable, RouteTableId, { Routes: [] });
    await start();
    const { VpcEndpoints: both = [] } = await call("DescribeVpcEndpoints", {
      VpcEndpointIds: [innerId, outerId],
    });
    assert.deepEqual(both.map((one) => one.State as string), ["available", "available"]);
    const shown = both.find((one) => one.VpcEndpointId === innerId);
    assert.equal(shown?.NetworkInterfaceIds?.length, 1);
    assert.equal(shown?.DnsEntries?.length, 1);
    const { RouteTables: [table] = [] } = await call("DescribeRouteTables", {
      RouteTableIds: [RouteTableId],
    });
    assert.equal(table?.Routes?.[0]?.GatewayId, outerId);
  });

  await t.step("a default VPC with its subnet, gateway and route", async () => {
    const { Vpcs: [first] = [] } = await call("DescribeVpcs", {
      Filters: filter("is-default", "true"),
    });
    const id = first?.VpcId ?? "";
    await lose(subnet, ...records.find(subnet, testAccount, id));
    await lose(internetGateway, ...records.find(internetGateway, testAccount, id));
    await leave(vpc, id, { State: "pending" });
    await start();
    const { Subnets: subnets = [] } = await call("DescribeSubnets", {
      Filters: filter("vpc-id", id),
    });
    assert.deepEqual(subnets.map((one) => one.DefaultForAz), [true]);
    const { RouteTables: [main] = [] } = await call("DescribeRouteTables", {
      Filters: filter("vpc-id", id),
    });
    assert.deepEqual(main?.Routes?.map((one) => one.State), ["active", "active"]);
  });

  await t.step(
    "a security group is never there without the rule that lets everything out",
    async () => {
      const group = { GroupName: "cut", Description: "cut off", VpcId };
      const create = records.create;
      const rules = () => [...records.all(securityGroupRule, testAccount)].length;
      const before = rules();
      /** As if the process ended before it wrote a record of this kind. */
      const cutBefore = async (one: AnyKind) => {
        records.create = (of, ...more) =>
          (of as unknown) === one
            ? Promise.reject(new Error("cut off"))
            : create.call(records, of as never, ...more) as never;
        try {
          await assert.rejects(ec2.client.send(new CreateSecurityGroupCommand(group)));
        } finally {
          records.create = create;
        }
        const { SecurityGroups: left = [] } = await call("DescribeSecurityGroups", {
          Filters: filter("group-name", "cut"),
        });
        assert.deepEqual(left, []);
      };
      await cutBefore(securityGroupRule as unknown as AnyKind);
      await cutBefore(securityGroup as unknown as AnyKind);
      await forgetRulesOfNoGroup(records, 0);
      assert.equal(rules(), before);
      const { GroupId } = await call("CreateSecurityGroup", group);
      await forgetRulesOfNoGroup(records, 0);
      const { SecurityGroups: [whole] = [] } = await call("DescribeSecurityGroups", {
        GroupIds: [GroupId ?? ""],
      });
      assert.equal(whole?.IpPermissionsEgress?.[0]?.IpRanges?.[0]?.CidrIp, "0.0.0.0/0");
    },
  );
});
