/** Compute's resource side on a real bus and state store, with no machines and no blocks. */
import { ResourceGroupsTagging } from "../../services/compute/resource_groups_tagging.ts";
import { ServiceQuotas } from "../../services/compute/quotas/service_quotas.ts";
import { ResourceSide } from "../../services/compute/resource_actions.ts";
import { authorize } from "../../services/identity/contract.ts";
import { instanceType } from "../../services/compute/instances/instance_resource.ts";
import type { ComputeState } from "../../services/compute/state.ts";
import { openState } from "../../services/compute/open_state.ts";
import type { InstanceRecord } from "../../services/compute/contract.ts";
import type { HostSize } from "../../services/compute/instances/instance_types.ts";
import { actionSubject, register } from "../../services/resources/actions.ts";
import { Resources } from "../../services/resources/resource.ts";
import type { ActionName, Input, Output } from "../../services/resources/wire.ts";
import { resourceTypes, tagQuestions } from "../../services/vpcd/contract.ts";
import { TestBlockStore } from "./block_store.ts";
import { callerOf, testConfig, TestPlugger } from "./compute.ts";
import { TestObjects } from "./objects.ts";
import { startNats, testLog, type TestNats } from "./nats.ts";

export const alice = "111111111111";
export const bob = "222222222222";

export interface ResourceWorld extends AsyncDisposable {
  readonly nats: TestNats;
  readonly store: TestBlockStore;
  readonly objects: TestObjects;
  readonly plugger: TestPlugger;
  readonly state: ComputeState;
  readonly instances: Resources<InstanceRecord>;
  readonly side: ResourceSide;
  /** Asks as the gateway does, for alice unless another account is given. */
  ask<Name extends ActionName>(
    name: Name,
    input: Input<Name>,
    account?: string,
  ): Promise<Output<Name>>;
}

/** @param on a server that is there, which stays; without one a new one comes and goes with it
 * @param withVpcd vpcd answers there as well, and owns resources with tags */
export async function startResourceSide(
  host: HostSize = { architecture: "x86_64", vcpus: 8, memory_mib: 16_384 },
  on?: TestNats,
  withVpcd = false,
): Promise<ResourceWorld> {
  const nats = on ?? await startNats();
  const bus = await nats.bus("compute");
  const store = new TestBlockStore(await nats.bus("viperblock"));
  const plugger = new TestPlugger();
  const state = await openState(bus, testLog);
  const instances = await Resources.open(instanceType, bus, testLog);
  const objects = new TestObjects();
  const transferDirectory = await Deno.makeTempDir({ prefix: "mulga-transfers-" });
  const side = new ResourceSide({
    bus,
    log: testLog,
    config: testConfig,
    state,
    instances,
    plugger,
    host,
    objects,
    transferDirectory,
    ...(withVpcd ? { tagOwners: [{ types: resourceTypes, questions: tagQuestions }] } : {}),
  });
  side.start();
  register(bus, side.actions);
  new ResourceGroupsTagging(
    side.taggable,
    // As identity would: whom it refuses is the gateway's stand's matter.
    async ({ principal_arn, action, resource }, call) =>
      (await bus.ask(authorize, { principal_arn, action, resource }, call)).allowed,
  ).register(bus);
  new ServiceQuotas(side.quotas, state.records).register(bus);
  await bus.connection.flush();
  const gateway = await nats.bus("gateway");
  return {
    nats,
    store,
    objects,
    plugger,
    state,
    instances,
    side,
    ask: (name, input, account = alice) =>
      gateway.ask(actionSubject(name), input, callerOf(account)),
    async [Symbol.asyncDispose]() {
      await side.stop();
      await state[Symbol.asyncDispose]();
      await instances[Symbol.asyncDispose]();
      await Deno.remove(transferDirectory, { recursive: true }).catch(() => {});
      if (on === undefined) await nats[Symbol.asyncDispose]();
    },
  };
}
