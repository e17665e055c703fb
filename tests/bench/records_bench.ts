/**
 * What describing and creating cost as an account's records grow: one page of 100 of each count, and
 * one creation, over the bus as the gateway asks. The cost must follow the page and not the count.
 *
 * Prints one JSON line per figure: `{name, ratio, detail}`; a ratio is the largest count's median by the
 * smallest's. `MULGA_BENCH_RECORDS` lists other counts.
 */
import { actionSubject } from "../../services/resources/actions.ts";
import { newId } from "../../services/resources/ids.ts";
import { subnet } from "../../services/vpcd/kinds/subnets.ts";
import { startVpcd } from "../../services/vpcd/vpcd.ts";
import { callerOf, testConfig } from "../kit/compute.ts";
import { startNats, testLog } from "../kit/nats.ts";

const counts = (Deno.env.get("MULGA_BENCH_RECORDS") ?? "1000,10000,100000").split(",").map(Number);
const rounds = 100;

const at = (times: readonly number[], share: number) =>
  [...times].sort((a, b) => a - b)[Math.min(times.length - 1, Math.floor(times.length * share))] ??
    0;

await using nats = await startNats();
const vpcd = await startVpcd({ bus: await nats.bus("vpcd"), log: testLog, config: testConfig });
const gateway = await nats.bus("gateway");
const { records } = vpcd.network;
const describe: number[] = [];
const create: number[] = [];
for (const [place, count] of counts.entries()) {
  const account = `${place + 1}`.repeat(12);
  await gateway.ask(actionSubject("DescribeVpcs"), {}, callerOf(account));
  // Straight into the table: making them one by one is measured below, on top of what is there.
  const shape = { CidrBlock: "10.0.0.0/24", State: "available" };
  const resources = records.of(subnet);
  for (let made = 0; made < count; made += 250) {
    await Promise.all(Array.from({ length: Math.min(250, count - made) }, () =>
      resources.create({
        account_id: account,
        id: newId("subnet-"),
        created: new Date().toISOString(),
        tags: { name: "bench" },
        shape: { ...shape, VpcId: `vpc-${"0".repeat(17)}` },
      })));
  }
  const timed = async (work: () => Promise<unknown>) => {
    const times: number[] = [];
    for (let round = 0; round < rounds; round++) {
      const started = performance.now();
      await work();
      times.push(performance.now() - started);
    }
    return times;
  };
  const pages = await timed(async () => {
    const input = { MaxResults: 100 };
    const page = await gateway.ask(actionSubject("DescribeSubnets"), input, callerOf(account));
    if (page.Subnets?.length !== 100) throw new Error("the page is not full");
  });
  const makes = await timed(() =>
    gateway.ask(actionSubject("CreateInternetGateway"), {}, callerOf(account))
  );
  describe.push(at(pages, 0.5));
  create.push(at(makes, 0.5));
  console.log(JSON.stringify({
    name: `a page of 100 of ${count} subnets`,
    ratio: at(pages, 0.5) / (describe[0] ?? 1),
    detail: `p50 ${at(pages, 0.5).toFixed(2)} ms, p99 ${at(pages, 0.99).toFixed(2)} ms`,
  }));
  console.log(JSON.stringify({
    name: `one creation beside ${count} subnets`,
    ratio: at(makes, 0.5) / (create[0] ?? 1),
    detail: `p50 ${at(makes, 0.5).toFixed(2)} ms, p99 ${at(makes, 0.99).toFixed(2)} ms`,
  }));
}
await vpcd.stop();
