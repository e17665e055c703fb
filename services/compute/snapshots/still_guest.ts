/**
 * Does something while a guest's file systems stand still, if the guest has an agent that can do that: asked of the
 * node that runs the guest, which lets go by itself when the asker does not come back.
 *
 * Nothing here fails because of a guest. One that cannot be held still is taken as it runs, as if its power were cut.
 */
import type { Bus } from "../../bus/bus.ts";
import { onNode, subject } from "../../bus/subject.ts";
import { errorFields, type Log } from "../../log/log.ts";
import type { FreezeRequest, GuestFreezer } from "../machines/guest_freezer.ts";

const freezeHere = subject<FreezeRequest, { readonly frozen: boolean }>(
  "ec2.instance.freeze",
  20_000,
);
const thawHere = subject<FreezeRequest, { readonly held: boolean }>("ec2.instance.thaw", 20_000);

/** Answers for the guests of this node. */
export function answerFreezes(bus: Bus, nodeId: string, freezer: GuestFreezer): void {
  bus.answer(
    onNode(nodeId, freezeHere),
    async (request) => ({ frozen: await freezer.freeze(request) }),
    { queue: null },
  );
  bus.answer(
    onNode(nodeId, thawHere),
    async (request) => ({ held: await freezer.thaw(request) }),
    { queue: null },
  );
}

export interface GuestOnNode {
  readonly instance_id: string;
  readonly node_id: string;
}

/** @param guest absent where nobody can be writing */
export async function whileStill<T>(
  { bus, log }: { readonly bus: Bus; readonly log: Log },
  guest: GuestOnNode | undefined,
  work: () => Promise<T>,
): Promise<T> {
  if (guest === undefined) return await work();
  const { instance_id, node_id } = guest;
  const request = { instance_id, token: crypto.randomUUID() };
  let frozen: boolean | "unknown" = "unknown";
  try {
    ({ frozen } = await bus.ask(onNode(node_id, freezeHere), request));
  } catch (error) {
    log.warn("guest_not_frozen", { instance_id, ...errorFields(error) });
  }
  try {
    return await work();
  } finally {
    if (frozen !== false) await thaw();
  }

  async function thaw(): Promise<void> {
    try {
      const { held } = await bus.ask(onNode(node_id, thawHere), request);
      if (frozen === true && !held) log.warn("guest_wrote_meanwhile", { instance_id });
    } catch (error) {
      // Its node thaws it by itself.
      log.warn("guest_thaw_unheard", { instance_id, ...errorFields(error) });
    }
  }
}
