/**
 * Compute, wired: the tables, the resource side, the instance side, the actions and what others may
 * ask. `main.ts` starts it on a node; tests start it on theirs.
 */
import { join } from "node:path";
import type { Bus } from "../bus/bus.ts";
import { onNode } from "../bus/subject.ts";
import type { NodeConfig, Paths } from "../config/node_config.ts";
import { errorFields, type Log } from "../log/log.ts";
import { type CompleteTable, register, type RegisterOptions } from "../resources/actions.ts";
import { Resources } from "../resources/resource.ts";
import { Table } from "../state/table.ts";
import { resourceTypes, tagQuestions } from "../vpcd/contract.ts";
import {
  Capacity,
  capacityBucket,
  type NodeClaims,
  nodeTotal,
  overhead_mib,
} from "./instances/capacity.ts";
import { boundConsole, readConsole } from "./machines/console_output.ts";
import { type computeActions, instanceAccess, type InstanceRecord, quiesce } from "./contract.ts";
import { DelegatedObjects } from "./transfers/delegated_objects.ts";
import { DirectSnapshots } from "./snapshots/direct_snapshots.ts";
import type { Hypervisor } from "./machines/hypervisor.ts";
import { consoleHere, instanceActions } from "./instances/instance_actions.ts";
import { profileActions } from "./instances/instance_profiles.ts";
import { instanceType, type ShowContext } from "./instances/instance_resource.ts";
import { sizeOf } from "./instances/instance_types.ts";
import { answerViews, instanceViewActions } from "./instances/instance_views.ts";
import type { InstanceDependencies } from "./instances/launch.ts";
import { GuestFreezer } from "./machines/guest_freezer.ts";
import { machinePaths } from "./machines/machine_paths.ts";
import type { MachineRegistry } from "./machines/machine_registry.ts";
import { MachinePlugger } from "./machines/machine_plugger.ts";
import { addressBucket, type AddressClaim, UserNetwork } from "./machines/network.ts";
import { hostArchitecture, machineSize } from "./machines/node_machine.ts";
import { quiesceNode } from "./instances/quiesce.ts";
import { type Bounds, Reconciler, usualBounds } from "./instances/reconcile.ts";
import { ResourceGroupsTagging } from "./resource_groups_tagging.ts";
import { ResourceSide } from "./resource_actions.ts";
import { answerFreezes } from "./snapshots/still_guest.ts";
import { openState } from "./open_state.ts";
import { ServiceQuotas } from "./quotas/service_quotas.ts";
import { answerUsage } from "./quotas/usage.ts";
import { VpcNetwork } from "./machines/vpc_network.ts";

export interface ComputeOptions {
  readonly bus: Bus;
  readonly log: Log;
  readonly config: NodeConfig;
  readonly paths: Paths;
  readonly hypervisor: Hypervisor;
  readonly bounds?: Bounds;
  /** Whether a caller may, on each resource that an action names; the gateway has asked for `*`. */
  readonly authorize?: RegisterOptions["authorize"];
}

export interface Compute {
  readonly reconciler: Reconciler;
  readonly capacity: Capacity;
  /** Counts for the health page. */
  facts(): Readonly<Record<string, string | number | boolean>>;
  stop(): Promise<void>;
}

/** How often consoles are bounded, and claims and machines that nobody owns are looked for. */
const housekeeping_ms = 30_000;

export async function startCompute(options: ComputeOptions): Promise<Compute> {
  const { bus, log, config, paths, hypervisor } = options;
  await Deno.mkdir(join(paths.service("compute"), "machines"), { recursive: true, mode: 0o750 });
  // A guest that was left frozen waits for nothing else: its channel is all that thawing it needs.
  const machines = Promise.withResolvers<MachineRegistry>();
  const freezer = new GuestFreezer({
    paths,
    log,
    find: async (instanceId) => await (await machines.promise).find(instanceId),
  });
  await freezer.recover();
  const [state, instances, claims, nodes] = await Promise.all([
    openState(bus, log),
    Resources.open(instanceType, bus, log),
    Table.open<AddressClaim>(bus, addressBucket, log),
    Table.open<NodeClaims>(bus, capacityBucket, log),
  ]);
  const total = nodeTotal(config.compute, machineSize());
  const capacity = new Capacity({
    table: nodes,
    node_id: config.node_id,
    total,
    overhead_mib: overhead_mib[hypervisor.accelerator],
  });
  const network = new VpcNetwork({
    bus,
    log,
    inner: new UserNetwork({ claims, paths, region: config.region, cluster_id: config.cluster_id }),
  });
  const plugger = new MachinePlugger(() => reconciler.machines);
  const objects = new DelegatedObjects(paths.s3Delegate);
  const resources = new ResourceSide({
    bus,
    log,
    config,
    state,
    instances,
    plugger,
    objects,
    transferDirectory: join(paths.service("compute"), "transfers"),
    host: { architecture: hostArchitecture, ...total },
    tagOwners: [{ types: resourceTypes, questions: tagQuestions }],
  });
  const dependencies: InstanceDependencies = {
    bus,
    log,
    config,
    paths,
    instances,
    keeper: resources.keeper,
    snapshots: resources.snapshots,
    hypervisor,
    network,
    capacity,
    sizeOf,
  };
  const reconciler: Reconciler = new Reconciler(dependencies, options.bounds ?? usualBounds);
  const show = async (account: string): Promise<ShowContext> => {
    const { security_group_id } = await network.defaults(account, config.az);
    return {
      vcpus: (name) => sizeOf(name)?.vcpus ?? 1,
      securityGroup: () => security_group_id,
    };
  };
  machines.resolve(reconciler.machines);
  answerFreezes(bus, config.node_id, freezer);
  resources.start();
  reconciler.start();
  const following = network.follow(instances);
  const authorization = options.authorize === undefined ? {} : { authorize: options.authorize };
  const table: CompleteTable<(typeof computeActions)[number]> = {
    ...resources.actions,
    ...profileActions({ bus, instances, ...authorization }),
    ...instanceViewActions(bus, instances),
    ...instanceActions({
      ...dependencies,
      ...authorization,
      state,
      quotas: resources.quotas,
      offered: sizeOf,
      show,
      isQuiescing: () => reconciler.isQuiescing,
    }),
  };
  register(bus, table, authorization);
  new ResourceGroupsTagging(resources.taggable, options.authorize).register(bus);
  new ServiceQuotas(resources.quotas, state.records).register(bus);
  const direct = new DirectSnapshots({
    bus,
    log,
    state,
    keeper: resources.snapshots,
    ...authorization,
  });
  direct.register();
  answerOthers(options, reconciler);
  answerViews(options, reconciler.machines);
  answerUsage(bus, state, instances);

  const housekeeping = setInterval(() => {
    void keepHouse(reconciler, paths, log)
      .catch((error) => log.warn("housekeeping_failed", errorFields(error)));
  }, housekeeping_ms);
  void endOrphans(reconciler, paths, log)
    .catch((error) => log.warn("orphans_failed", errorFields(error)));
  return {
    reconciler,
    capacity,
    facts: () => {
      const used = capacity.used;
      return {
        accelerator: hypervisor.accelerator,
        guests: reconciler.machines.known.length,
        instances: instances.table.size,
        vcpus_used: used.vcpus,
        vcpus_total: total.vcpus,
        memory_used_mib: used.memory_mib,
        memory_total_mib: total.memory_mib,
      };
    },
    stop: async () => {
      direct.stop();
      clearInterval(housekeeping);
      await following.close();
      await resources.stop();
      await freezer.stop();
      objects[Symbol.dispose]();
      await reconciler.stop();
      for (const one of [state, instances, claims, nodes]) await one[Symbol.asyncDispose]();
    },
  };
}

/** What `hive`, `down` and other nodes ask. */
function answerOthers({ bus, config, paths, log }: ComputeOptions, reconciler: Reconciler): void {
  const { instances } = reconciler.dependencies;
  bus.answer(
    onNode(config.node_id, consoleHere),
    ({ instance_id }) => readConsole(machinePaths(paths, instance_id)),
    { queue: null },
  );
  const access = async ({ instance_id }: { instance_id: string }) => {
    const instance = await instanceNamed(instances, instance_id);
    const files = machinePaths(paths, instance_id);
    const isRunning = instance.state === "running" || instance.state === "stopping";
    return {
      instance_id,
      ...(isRunning && instance.network.ssh_port !== undefined
        ? { ssh_port: instance.network.ssh_port }
        : {}),
      ...(isRunning ? { console_socket: files.consoleSocket } : {}),
      console_log: files.consoleLog,
    };
  };
  const accessHere = onNode(config.node_id, { ...instanceAccess, name: "ec2.instance.access" });
  bus.answer(accessHere, access, { queue: null });
  bus.answer(instanceAccess, async (input, context) => {
    const { node_id } = await instanceNamed(instances, input.instance_id);
    if (node_id === config.node_id) return await access(input);
    return await bus.ask(
      onNode(node_id, { ...instanceAccess, name: accessHere.name }),
      input,
      context,
    );
  });
  bus.answer(quiesce, async ({ timeout_ms }) => {
    log.info("quiesce_begun", { timeout_ms });
    const still_running = await quiesceNode(reconciler, timeout_ms);
    log.info("quiesce_done", { ended_by_force: still_running });
    return { still_running };
  });
}

/** The system's own callers name an instance without its account. */
async function instanceNamed(
  instances: Resources<InstanceRecord>,
  instanceId: string,
): Promise<InstanceRecord> {
  for (const instance of instances.all()) {
    if (instance.instance_id === instanceId) return instance;
  }
  return await instances.require("000000000000", instanceId);
}

async function keepHouse(reconciler: Reconciler, paths: Paths, log: Log): Promise<void> {
  const { capacity, config, instances, network } = reconciler.dependencies;
  for (const machine of reconciler.machines.known) {
    await boundConsole(machinePaths(paths, machine.instance_id));
  }
  const holding = new Set<string>();
  const existing = new Set<string>();
  for (const instance of instances.all()) {
    if (instance.state !== "terminated") {
      existing.add(`${instance.account_id}.${instance.instance_id}`);
      if (instance.state !== "stopped" && instance.node_id === config.node_id) {
        holding.add(instance.instance_id);
      }
    }
  }
  await capacity.sweep((id) => holding.has(id));
  await network.sweep((account, id) => existing.has(`${account}.${id}`));
  await endOrphans(reconciler, paths, log);
}

/** Machines without a record: their state was lost or purged, and nobody will ever end them. */
async function endOrphans(reconciler: Reconciler, paths: Paths, log: Log): Promise<void> {
  const { hypervisor, instances } = reconciler.dependencies;
  for await (const entry of Deno.readDir(join(paths.service("compute"), "machines"))) {
    // Asked anew for each: a launch writes its record before it makes its machine.
    if ([...instances.all()].some((instance) => instance.instance_id === entry.name)) continue;
    const machine = await hypervisor.find(entry.name);
    log.warn("orphan_machine", { instance_id: entry.name, running: machine !== undefined });
    await machine?.end();
    await machine?.release();
    await hypervisor.forget(entry.name);
  }
}
