/**
 * Shuts every guest of this node down for a stop of the stack, and keeps what is wanted of each: the
 * next start of the stack starts them again. Guests get the power button and the time that the
 * caller gives; what still runs then is ended.
 */
import { errorFields } from "../../log/log.ts";
import { unmountVolume } from "../../viperblock/contract.ts";
import { quiesceProgress } from "../contract.ts";
import type { Machine } from "../machines/hypervisor.ts";
import type { InstanceDependencies } from "./launch.ts";
import { Pulse } from "../pulse.ts";
import type { Reconciler } from "./reconcile.ts";
import { shutDown } from "../machines/shutdown.ts";
import { unlessMissing } from "../volumes/volume_lifecycle.ts";

/** A stop that is called off starts the guests again after this long. */
const calledOff_ms = 180_000;
/** Two rounds: a launch that was under way at the first is met by the second. */
const rounds = 2;

export interface QuiesceEvent {
  readonly node_id: string;
  readonly waiting_for: readonly string[];
}

/** @returns the guests that did not shut down by themselves in time */
export async function quiesceNode(
  reconciler: Reconciler,
  timeout_ms: number,
): Promise<readonly string[]> {
  const { bus, config, instances } = reconciler.dependencies;
  reconciler.setQuiescing(true);
  const limit = performance.now() + timeout_ms;
  const refused = new Set<string>();
  const waiting = new Set<string>();
  const tell = () => {
    const event: QuiesceEvent = { node_id: config.node_id, waiting_for: [...waiting].sort() };
    bus.say(quiesceProgress, event);
  };
  for (let round = 0; round < rounds; round++) {
    const here = [...instances.all()].filter((instance) => instance.node_id === config.node_id);
    await Promise.all(here.map(async ({ instance_id, attachments }) => {
      const machine = await reconciler.machines.find(instance_id).catch(() => undefined);
      if (machine === undefined) return;
      waiting.add(instance_id);
      tell();
      if (!await stopOne(machine, limit)) refused.add(instance_id);
      await release(reconciler.dependencies, instance_id, attachments.map((a) => a.volume_id));
      waiting.delete(instance_id);
      tell();
    }));
  }
  const timer = setTimeout(() => reconciler.setQuiescing(false), calledOff_ms);
  Deno.unrefTimer(timer as never);
  return [...refused];
}

async function stopOne(machine: Machine, limit: number): Promise<boolean> {
  const pulse = new Pulse();
  const unhear = machine.onChange(() => pulse.notify());
  try {
    const bound_ms = Math.max(0, limit - performance.now());
    const byItself = await shutDown(machine, { pulse, bound_ms, goesOn: () => true });
    await machine.end();
    return byItself;
  } finally {
    unhear();
  }
}

/** Best effort: the block service flushes what is still served when it stops itself. */
async function release(
  { bus, log }: InstanceDependencies,
  instance_id: string,
  volumes: readonly string[],
): Promise<void> {
  await Promise.all(volumes.map(async (volume_id) => {
    try {
      await unlessMissing(bus.ask(unmountVolume, { volume_id }));
    } catch (error) {
      log.warn("unmount_delayed", { instance_id, volume_id, ...errorFields(error) });
    }
  }));
}
