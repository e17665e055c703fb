/**
 * Random requests of the right shape to every operation that is a record's: no fault of ours, no hang,
 * and what is refused has changed nothing. Ids are often real ones, so that much is answered as well.
 */
import * as sdk from "@aws-sdk/client-ec2";
import assert from "node:assert/strict";
import { queryService } from "../../services/aws/schema/catalog.ts";
import type { Shape } from "../../services/aws/schema/shape.ts";
import { computeRecordActions } from "../../services/compute/contract.ts";
import { vpcdActions } from "../../services/vpcd/contract.ts";
import type { Records } from "../../services/resources/records.ts";
import { instanceRecord } from "../kit/compute.ts";
import { startScenario } from "../kit/ec2_scenario.ts";
import { testAccount } from "../kit/gateway.ts";
import { seeded } from "../kit/random.ts";

const texts = [
  "",
  "a",
  "default",
  "*",
  "$Latest",
  "10.0.0.0/16",
  "10.0.0.0/24",
  "10.1.0.0/20",
  "fd00::/64",
  "::/0",
  "0.0.0.0/0",
  "10.0.0.9",
  "tcp",
  "-1",
  "6",
  "arn:aws:sns:a:123456789012:b",
  "é\u0000\u{1f600}",
  "../../x",
  "x".repeat(300),
  "__proto__",
  "vpc-0123456789abcdef0",
  "i-0123456789abcdef0",
];
const numbers = [-2147483648, -1, 0, 1, 2, 5, 22, 100, 1000, 65000, 65536, 2147483647];
/** `MULGA_TEST_ROUNDS` runs it for longer. */
const rounds = Number(Deno.env.get("MULGA_TEST_ROUNDS") ?? 3);

Deno.test("no request of the right shape is a fault of ours, and a refusal changes nothing", () =>
  seeded(async (random) => {
    await using ec2 = await startScenario();
    await ec2.world.instances.create(instanceRecord({ account_id: testAccount }));
    await ec2.call("DescribeVpcs", {});
    const stores: readonly Records[] = [ec2.vpcd.network.records, ec2.world.state.records];
    /** Ids that are there, by the prefix of the member that may name them. */
    const realIds = () => stores.flatMap((one) => [...one.table.rows()].map((row) => row.value.id));
    const text = (member: string): string => {
      if (random.below(3) === 0) return random.pick(texts);
      const ids = realIds();
      const wanted = member.replace(/(?:Ids?|s)$/, "").toLowerCase();
      const fitting = ids.filter((id) => wanted.includes(names[id.split("-")[0] ?? ""] ?? "\n"));
      return random.pick(fitting.length > 0 ? fitting : [...ids, ...texts]);
    };
    const value = (shape: Shape, member: string, depth: number): unknown => {
      switch (shape.kind) {
        case "string":
          return text(member);
        case "boolean":
          return random.below(2) === 0;
        case "integer":
        case "number":
          return random.pick(numbers);
        case "timestamp":
          return new Date(random.pick([0, Date.now(), 4e12]));
        case "blob":
          return new Uint8Array(random.below(20));
        case "list":
          return Array.from(
            { length: random.below(3) },
            () => value(shape.item, member, depth + 1),
          );
        case "map":
          return {};
        case "structure":
          return Object.fromEntries(
            shape.members.flatMap((one) =>
              one.name === "DryRun" || (!one.required && (depth > 3 || random.below(2) === 0))
                ? []
                : [[one.name, value(one.shape, one.name, depth + 1)]]
            ),
          );
      }
    };
    const state = () =>
      JSON.stringify(
        stores.map((one) => [...one.table.rows()].map((row) => [row.key, row.revision]).sort()),
      );
    const settled = async () => {
      for (const one of stores) await one.settled();
    };
    const service = queryService("ec2");
    let answered = 0;
    for (let round = 0; round < rounds; round++) {
      for (const action of [...vpcdActions, ...computeRecordActions]) {
        const shape = service?.operation(action)?.input;
        const input = shape === undefined ? {} : value(shape, "", 0);
        const shown = `${action} ${JSON.stringify(input)?.slice(0, 800)} (seed ${random.seed})`;
        const command =
          (sdk as unknown as Record<string, new (input: unknown) => never>)[`${action}Command`];
        assert.ok(command, action);
        await settled();
        const before = state();
        const started = performance.now();
        try {
          await ec2.client.send(new command(input));
          answered++;
        } catch (error) {
          const { name, $metadata } = error as {
            name: string;
            $metadata?: { httpStatusCode?: number };
          };
          const status = $metadata?.httpStatusCode ?? 0;
          assert.ok(status >= 400 && status < 500, `${name} ${status}: ${shown}`);
          assert.notEqual(name, "UnsupportedOperation", shown);
          // What is refused for parts of its targets has changed the others: it is answered, not refused.
          assert.equal(state(), before, `${name}, and changed: ${shown}`);
        }
        assert.ok(performance.now() - started < 10_000, `hangs: ${shown}`);
      }
    }
    assert.ok(answered > rounds * 30, `${answered} answered`);
  }));

/** What the prefix of an id is called in members that name it. */
const names: Readonly<Record<string, string>> = {
  acl: "networkacl",
  cgw: "customergateway",
  dopt: "dhcpoption",
  eipalloc: "allocation",
  eni: "networkinterface",
  igw: "internetgateway",
  lgw: "localgateway",
  lt: "launchtemplate",
  nat: "natgateway",
  pl: "prefixlist",
  rs: "routeserver",
  rtb: "routetable",
  sg: "group",
  sgr: "securitygrouprule",
  subnet: "subnet",
  tgw: "transitgateway",
  vgw: "vpngateway",
  vpc: "vpc",
  vpce: "vpcendpoint",
};
