/** The client of a guest's agent, against agents that lie, babble, hang and hang up. */
import assert from "node:assert/strict";
import { until } from "../../../tests/kit/until.ts";
import { AgentRefused, AgentSilent, GuestAgent } from "./guest_agent.ts";
import { goodAgent, serveAgent } from "../../../tests/kit/guest_agent.ts";

/** Longer than any test of what comes; the tests of what never comes give their own. */
const patient_ms = 60_000;

Deno.test("an agent that is there is synchronized with, frozen and thawed", async () => {
  await using served = await serveAgent(goodAgent());
  using agent = await GuestAgent.connect(served.path, patient_ms);
  assert.equal(await agent.freeze(patient_ms), 2);
  assert.equal(await agent.thaw(patient_ms), 2);
  assert.deepEqual(served.heard, [
    "guest-sync-delimited",
    "guest-fsfreeze-freeze",
    "guest-fsfreeze-thaw",
  ]);
});

Deno.test("a guest hears a thaw when its client ends, and not before", async () => {
  await using served = await serveAgent(goodAgent());
  {
    using agent = await GuestAgent.connect(served.path, patient_ms);
    await agent.freeze(patient_ms);
    await agent.freeze(patient_ms);
  }
  await until("it is heard", () => served.heard.length === 4);
  assert.deepEqual(served.heard, [
    "guest-sync-delimited",
    "guest-fsfreeze-freeze",
    "guest-fsfreeze-freeze",
    "guest-fsfreeze-thaw",
  ]);
  // The next one is served.
  using next = await GuestAgent.connect(served.path, patient_ms);
  assert.equal(await next.thaw(patient_ms), 2);
});

Deno.test("answers to an earlier client are passed over", async () => {
  await using served = await serveAgent({
    "guest-sync-delimited": ({ id }) => [
      `{"return": 7}\n{"return"`,
      new Uint8Array([0xff]),
      `{"return": 12}\n`,
      new Uint8Array([0xff]),
      `{"return": ${id}}\n`,
    ],
  });
  using _agent = await GuestAgent.connect(served.path, patient_ms);
});

Deno.test("a refusal is told in the guest's words, cut short and without control characters", async () => {
  const desc = `\u001b[2J${"no".repeat(1_000)}`;
  await using served = await serveAgent({
    ...goodAgent(),
    "guest-fsfreeze-freeze": () => [
      `${JSON.stringify({ error: { class: "GenericError", desc } })}\n`,
    ],
  });
  using agent = await GuestAgent.connect(served.path, patient_ms);
  await assert.rejects(agent.freeze(patient_ms), (error: unknown) => {
    assert.ok(error instanceof AgentRefused);
    assert.match(error.message, /^guest-fsfreeze-freeze: \?\[2Jnono/);
    assert.ok(error.message.length < 300);
    return true;
  });
  assert.equal(await agent.thaw(patient_ms), 2);
});

const flood = () => new Uint8Array(1 << 20).fill(0x61);
const lies: Readonly<Record<string, string | Uint8Array>> = {
  "no JSON": "certainly\n",
  "a number": "1\n",
  "null": "null\n",
  "a list": '[{"return":1}]\n',
  "an object without an answer": "{}\n",
  "a text for a number": '{"return":"2"}\n',
  "a number that is none of file systems": '{"return":-1}\n',
  "a number that is too large": '{"return":1e300}\n',
  "an object for a number": '{"return":{"__proto__":1}}\n',
  "an error that is a text": '{"error":"no"}\n',
  "brackets without an end": `${"[".repeat(4_000)}\n`,
  "no UTF-8": new Uint8Array([0xc3, 0x28, 0x0a]),
  "a line without an end": flood(),
};
for (const [what, said] of Object.entries(lies)) {
  Deno.test(`an agent that answers a freeze with ${what} is not believed`, async () => {
    await using served = await serveAgent({
      ...goodAgent(),
      "guest-fsfreeze-freeze": () => [said],
    });
    using agent = await GuestAgent.connect(served.path, patient_ms);
    await assert.rejects(agent.freeze(patient_ms), AgentSilent);
    await assert.rejects(agent.thaw(patient_ms), AgentSilent, "the connection has ended");
  });
}

const babble: Readonly<Record<string, () => Iterable<string | Uint8Array>>> = {
  "without an end": () => Array.from({ length: 8 }, flood),
  "delimiters and nothing else": () => [new Uint8Array(1 << 20).fill(0xff)],
  "answers to somebody else without an end": () => [
    new TextEncoder().encode(`\n{"return":1}\n`.repeat(10_000))
      .map((byte, at) => at % 14 === 0 ? 0xff : byte),
  ],
  "the number as a text": () => [new Uint8Array([0xff]), `{"return":"1"}\n`.repeat(10_000)],
};
for (const [what, said] of Object.entries(babble)) {
  Deno.test(`an agent that says ${what} is no agent`, async () => {
    await using served = await serveAgent({ "guest-sync-delimited": () => said() });
    await assert.rejects(GuestAgent.connect(served.path, patient_ms), AgentSilent);
  });
}

Deno.test("an agent that says nothing, or hangs up, is no agent", async () => {
  await using silent = await serveAgent({ "guest-sync-delimited": () => [] });
  await assert.rejects(GuestAgent.connect(silent.path, 50), AgentSilent);
  await using gone = await serveAgent({ "guest-sync-delimited": () => "hang up" });
  await assert.rejects(GuestAgent.connect(gone.path, patient_ms), AgentSilent);
  await assert.rejects(GuestAgent.connect(`${gone.path}.not`, patient_ms), AgentSilent);
});

Deno.test("an agent that answers one byte at a time is out of time as any other", async () => {
  await using served = await serveAgent({
    ...goodAgent(),
    "guest-fsfreeze-freeze": async function* () {
      for (;;) {
        yield " ";
        await new Promise((resolve) => setTimeout(resolve, 10));
      }
    },
  });
  using agent = await GuestAgent.connect(served.path, patient_ms);
  await assert.rejects(agent.freeze(100), AgentSilent);
});

Deno.test("what is to be done first is told before anything is waited for", async () => {
  await using served = await serveAgent({});
  await assert.rejects(GuestAgent.connect(served.path, 50, "guest-fsfreeze-thaw"), AgentSilent);
  await until("both are heard", () => served.heard.length === 2);
  assert.deepEqual(served.heard, ["guest-fsfreeze-thaw", "guest-sync-delimited"]);
});
