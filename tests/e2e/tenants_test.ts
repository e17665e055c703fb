/**
 * Two tenants of one cloud at the same time, with the AWS CLI and with the JavaScript SDK: the same story
 * by both, each tenant with its own guest, neither seeing or touching anything of the other's.
 */
import assert from "node:assert/strict";
import { join } from "node:path";
import { pathsOf } from "../../services/config/node_config.ts";
import { ownedActions } from "../../services/gateway/dispatch.ts";
import { smallest } from "../compute/launches.ts";
import { cliDriver, cliWaiters, type Cloud, sdkDriver, type Tenant } from "../kit/ec2_drivers.ts";
import { importTinyGuest } from "../kit/instances.ts";
import { quickWaiters } from "../kit/quick_waiters.ts";
import { type Stack, startStack } from "../kit/stack.ts";
import { TenantStory } from "./tenant_story.ts";

/** What the CLI can wait for and no tenant of this cloud can have, by the operation that would show it. */
const without: Readonly<Record<string, string>> = {
  "bundle-task-complete": "DescribeBundleTasks",
  "conversion-task-cancelled": "DescribeConversionTasks",
  "conversion-task-completed": "DescribeConversionTasks",
  "conversion-task-deleted": "DescribeConversionTasks",
  "export-task-cancelled": "DescribeExportTasks",
  "export-task-completed": "DescribeExportTasks",
  "image-usage-report-available": "DescribeImageUsageReports",
  "password-data-available": "GetPasswordData",
  "spot-instance-request-fulfilled": "DescribeSpotInstanceRequests",
  "store-image-task-complete": "DescribeStoreImageTasks",
};

async function tenantNamed(stack: Stack, name: string): Promise<Tenant> {
  return JSON.parse(await stack.hive("admin", "account", "create", name, "--json"));
}

Deno.test("two tenants at once go from a VPC to a restored volume and back, by CLI and by SDK", async (t) => {
  await using stack = await startStack();
  const paths = pathsOf(stack.dataDir);
  const config = JSON.parse(await Deno.readTextFile(paths.config));
  const cloud: Cloud = {
    endpoint: `https://localhost:${config.ports.gateway}`,
    region: config.region,
    ca: paths.tls.ca,
    waiters: await quickWaiters(join(paths.aws, "models")),
  };
  const image = await importTinyGuest(stack);
  const tenants = [await tenantNamed(stack, "ada"), await tenantNamed(stack, "bob")];
  const waited = new Set<string>();
  for (const driverOf of [sdkDriver, cliDriver]) {
    const drivers = tenants.map((tenant) => driverOf(cloud, tenant));
    const name = drivers[0]?.name ?? "";
    const told = await t.step(name, async (step) => {
      const [ada, bob] = drivers.map((driver, place) =>
        new TenantStory({
          driver,
          tenant: place === 0 ? "ada" : "bob",
          zone: config.az,
          image,
          instanceType: smallest,
          connected: place === 0,
          waited,
        })
      );
      assert.ok(ada && bob);
      const both = async (what: string, tell: (story: TenantStory) => Promise<unknown>) => {
        const told = await step.step(what, async () => {
          await Promise.all([tell(ada), tell(bob)]);
        });
        assert.ok(told, "what follows needs it");
      };
      await both("a network", (story) => story.network());
      await both(
        "an instance, while the VPC is connected and a disk is brought in",
        (story) => Promise.all([story.launch(), story.connections(), story.bring()]),
      );
      await both("a snapshot of what the guest wrote, and an image", async (story) => {
        await Promise.all([story.save(), story.capture()]);
      });
      await both("a volume restored byte for byte", (story) => story.restore());
      const apart = await step.step("neither sees or touches anything of the other's", async () => {
        const before = await Promise.all([ada.seen(), bob.seen()]);
        await Promise.all([ada.trespass(bob), bob.trespass(ada)]);
        assert.deepEqual(await Promise.all([ada.seen(), bob.seen()]), before);
      });
      assert.ok(apart);
      await both("nothing goes in the wrong order", (story) => story.wrongOrder());
      await both("everything goes in the right one", (story) => story.end());
    });
    for (const driver of drivers) driver[Symbol.dispose]();
    assert.ok(told);
  }
  await t.step("every waiter of the CLI whose operation is answered was used", async () => {
    const known = await cliWaiters();
    assert.ok(known.includes("vpc-available"), String(known));
    for (const waiter of known.filter((one) => !waited.has(one))) {
      const operation = without[waiter];
      assert.ok(operation, `${waiter} was not used`);
      assert.ok(
        !ownedActions["ec2"]?.has(operation),
        `${operation} is answered: wait by ${waiter}`,
      );
    }
  });
});
