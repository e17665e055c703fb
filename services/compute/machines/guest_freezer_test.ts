/** Guests that are held still for a snapshot: by agents that do as they are told, and by others. */
import assert from "node:assert/strict";
import { dirname } from "node:path";
import {
  type Agent,
  goodAgent,
  serveAgent,
  type ServedAgent,
} from "../../../tests/kit/guest_agent.ts";
import { testLog } from "../../../tests/kit/nats.ts";
import { until } from "../../../tests/kit/until.ts";
import { pathsOf } from "../../config/node_config.ts";
import { type FreezeBounds, GuestFreezer } from "./guest_freezer.ts";
import type { MachineStatus } from "./hypervisor.ts";
import { machinePaths } from "./machine_paths.ts";

const first = { instance_id: "i-00000000000000001", token: "one" };
const second = { instance_id: "i-00000000000000002", token: "two" };

/** Longer than any test: only what a test is about comes to its bound. */
const patient: FreezeBounds = {
  sync_ms: 60_000,
  frozen_ms: 60_000,
  thaw_ms: 60_000,
  turn_ms: 60_000,
  patience_ms: 60_000,
};

interface Guest {
  status: MachineStatus | "gone";
  hasAgent: boolean;
}

async function startHost() {
  const root = await Deno.makeTempDir({ prefix: "mulga-f-" });
  const paths = pathsOf(root);
  const stack = new AsyncDisposableStack();
  stack.defer(() => Deno.remove(root, { recursive: true }));
  const guests = new Map<string, Guest>();
  for (const { instance_id } of [first, second]) {
    const { directory, qmp } = machinePaths(paths, instance_id);
    await Deno.mkdir(directory, { recursive: true });
    await Deno.mkdir(dirname(qmp), { recursive: true });
    guests.set(instance_id, { status: "running", hasAgent: true });
  }
  return {
    guest: (id: string) => guests.get(id) as Guest,
    serve: (agent: Agent, id = first.instance_id) =>
      serveAgent(agent, machinePaths(paths, id).agentSocket),
    isMarked: (id = first.instance_id) =>
      Deno.stat(machinePaths(paths, id).frozen).then(() => true, () => false),
    mark: (id = first.instance_id) => Deno.writeTextFile(machinePaths(paths, id).frozen, ""),
    freezer(bounds: Partial<FreezeBounds> = {}): GuestFreezer {
      const freezer = new GuestFreezer({
        paths,
        log: testLog,
        bounds: { ...patient, ...bounds },
        find: (id) => {
          const guest = guests.get(id);
          if (guest === undefined || guest.status === "gone") return Promise.resolve(undefined);
          const { status, hasAgent } = guest;
          return Promise.resolve({
            status: () => Promise.resolve(status),
            hasAgent: () => Promise.resolve(hasAgent),
          });
        },
      });
      stack.defer(() => freezer.stop());
      return freezer;
    },
    [Symbol.asyncDispose]: () => stack.disposeAsync(),
  };
}

const freezeThenThaw = ["guest-fsfreeze-freeze", "guest-fsfreeze-thaw"];
/** And then what was left in QEMU's queue for the case that nobody could say so. */
const freezeToEnd = [...freezeThenThaw, "guest-fsfreeze-thaw"];
const told = (heard: readonly string[]) => heard.filter((one) => one !== "guest-sync-delimited");
const untilTold = async ({ heard }: ServedAgent, all: readonly string[]) => {
  await until("as much is heard", () => told(heard).length >= all.length);
  assert.deepEqual(told(heard), all);
};

Deno.test("a guest is frozen, which stands in a file, and thawed by who froze it alone", async () => {
  await using host = await startHost();
  await using agent = await host.serve(goodAgent());
  const freezer = host.freezer();
  assert.equal(await freezer.freeze(first), true);
  assert.equal(await freezer.freeze(first), true, "asking again is no second freeze");
  assert.equal(await host.isMarked(), true);
  assert.equal(await freezer.thaw({ ...first, token: "another" }), false);
  assert.deepEqual(told(agent.heard), ["guest-fsfreeze-freeze"]);
  assert.equal(await freezer.thaw(first), true);
  await untilTold(agent, freezeToEnd);
  assert.equal(await host.isMarked(), false);
  assert.equal(await freezer.thaw(first), false);
});

Deno.test("a guest that does not run, or has no agent, is left alone", async () => {
  await using host = await startHost();
  await using agent = await host.serve(goodAgent());
  const freezer = host.freezer();
  for (const status of ["io_error", "powered_off", "gone"] as const) {
    host.guest(first.instance_id).status = status;
    assert.equal(await freezer.freeze(first), false, status);
  }
  Object.assign(host.guest(first.instance_id), { status: "running", hasAgent: false });
  assert.equal(await freezer.freeze(first), false);
  assert.deepEqual(agent.heard, []);
});

Deno.test("nobody comes back to thaw: the guest is thawed by itself, and who comes late hears so", async () => {
  await using host = await startHost();
  await using agent = await host.serve(goodAgent());
  const freezer = host.freezer({ frozen_ms: 50 });
  await freezer.freeze(first);
  await until("thawed", async () => !await host.isMarked());
  await untilTold(agent, freezeToEnd);
  assert.equal(await freezer.thaw(first), false);
});

Deno.test("who wants the same guest waits for his turn, and not for ever", async () => {
  await using host = await startHost();
  await using agent = await host.serve(goodAgent());
  const freezer = host.freezer({ turn_ms: 300 });
  assert.equal(await freezer.freeze(first), true);
  assert.equal(await freezer.freeze({ ...first, token: "in vain" }), false);
  const next = freezer.freeze({ ...first, token: "next" });
  await freezer.thaw(first);
  assert.equal(await next, true);
  await freezer.thaw({ ...first, token: "next" });
  await untilTold(agent, [...freezeToEnd, ...freezeToEnd]);
});

Deno.test("an agent that says nothing holds up nobody but its own guest", async () => {
  await using host = await startHost();
  await using _silent = await host.serve({});
  await using _good = await host.serve(goodAgent(), second.instance_id);
  const freezer = host.freezer({ sync_ms: 1_000 });
  const order: string[] = [];
  const stuck = freezer.freeze(first).then((frozen) => order.push(`first ${frozen}`));
  order.push(`second ${await freezer.freeze(second)}`);
  assert.equal(await freezer.thaw(second), true);
  await stuck;
  assert.deepEqual(order, ["second true", "first false"]);
  assert.equal(await host.isMarked(), false, "it was not told to freeze");
});

const failures: Readonly<Record<string, Agent>> = {
  "refuses": {
    ...goodAgent(),
    "guest-fsfreeze-freeze": () => [`{"error":{"class":"GenericError","desc":"no"}}\n`],
  },
  "lies": { ...goodAgent(), "guest-fsfreeze-freeze": () => [`{"return":"all"}\n`] },
  "hangs up": { ...goodAgent(), "guest-fsfreeze-freeze": () => "hang up" },
  "never answers": { ...goodAgent(), "guest-fsfreeze-freeze": () => [] },
};
for (const [what, behaviour] of Object.entries(failures)) {
  Deno.test(`an agent that ${what} when told to freeze is told to thaw all the same`, async () => {
    await using host = await startHost();
    await using agent = await host.serve(behaviour);
    const freezer = host.freezer({ frozen_ms: 200 });
    assert.equal(await freezer.freeze(first), false);
    await until("thawed", async () => !await host.isMarked());
    assert.deepEqual(told(agent.heard).slice(0, 2), freezeThenThaw);
  });
}

Deno.test("an agent that does not answer a thaw is told again until it does", async () => {
  await using host = await startHost();
  let tries = 0;
  await using agent = await host.serve({
    ...goodAgent(),
    "guest-fsfreeze-thaw": () => ++tries < 4 ? "hang up" : [`{"return":0}\n`],
  });
  const freezer = host.freezer();
  await freezer.freeze(first);
  await freezer.thaw(first);
  assert.equal(await host.isMarked(), false);
  assert.ok(told(agent.heard).length > 4);
});

Deno.test("what was left frozen is thawed at the next start, and what is gone is forgotten", async () => {
  await using host = await startHost();
  await using agent = await host.serve(goodAgent());
  await host.mark();
  await host.mark(second.instance_id);
  host.guest(second.instance_id).status = "gone";
  const freezer = host.freezer();
  await freezer.recover();
  // Its turn comes after that.
  assert.equal(await freezer.freeze(first), true);
  assert.equal(told(agent.heard)[0], "guest-fsfreeze-thaw");
  assert.equal(told(agent.heard).at(-1), "guest-fsfreeze-freeze");
  await freezer.thaw(first);
  await until("forgotten", async () => !await host.isMarked(second.instance_id));
});

Deno.test("a stop thaws what is frozen; who does not answer stays on file for the next start", async () => {
  await using host = await startHost();
  await using good = await host.serve(goodAgent());
  await using _bad = await host.serve(
    { ...goodAgent(), "guest-fsfreeze-thaw": () => [] },
    second.instance_id,
  );
  const freezer = host.freezer({ thaw_ms: 500 });
  await freezer.freeze(first);
  await freezer.freeze(second);
  await freezer.stop();
  await untilTold(good, freezeToEnd);
  assert.equal(await host.isMarked(), false);
  assert.equal(await host.isMarked(second.instance_id), true);
  assert.equal(await freezer.freeze({ ...first, token: "late" }), false);
});
