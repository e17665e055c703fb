/**
 * How long people wait: for the API after `up`, and for each service after its process starts, measured
 * against what the same machine takes at the same time for a Deno process that does nothing. On an idle
 * two-core machine that is some 40 ms, `up` 1 to 4 s and a service 0.1 to 0.7 s.
 */
import assert from "node:assert/strict";
import { services } from "../../services/manifest.ts";
import { startStack } from "../kit/stack.ts";

interface Status {
  readonly services: readonly { readonly name: string; readonly start_ms: number }[];
}

/** Median of the milliseconds in which a Deno process that does nothing starts and ends. */
async function emptyProcess_ms(): Promise<number> {
  const taken: number[] = [];
  for (let round = 0; round < 5; round++) {
    const started = performance.now();
    await new Deno.Command(Deno.execPath(), { args: ["eval", "0"], stdout: "null" }).output();
    taken.push(performance.now() - started);
  }
  return taken.sort((a, b) => a - b)[2] ?? 0;
}

/** Rounds of which the fastest counts: something else that the machine does is no slow start. */
const rounds = 3;

Deno.test("on a set-up machine the API answers, and each service runs, within some starts of Deno", async () => {
  await using stack = await startStack();
  let up_ms = Infinity;
  const starts_ms = new Map<string, number>();
  for (let round = 0; round < rounds; round++) {
    const down = await stack.down();
    assert.equal(down.code, 0, down.stderr);
    const started = performance.now();
    const up = await stack.up("--no-image");
    up_ms = Math.min(up_ms, performance.now() - started);
    assert.equal(up.code, 0, up.stderr);
    await stack.aws("sts", "get-caller-identity");
    const status: Status = JSON.parse(await stack.hive("status", "--json"));
    assert.equal(status.services.length, services.length);
    for (const { name, start_ms } of status.services) {
      assert.ok(start_ms > 0, name);
      starts_ms.set(name, Math.min(starts_ms.get(name) ?? Infinity, start_ms));
    }
  }
  const empty_ms = await emptyProcess_ms();
  console.log(
    `an empty process ${Math.round(empty_ms)} ms; up ${Math.round(up_ms)} ms; `,
    [...starts_ms].map(([name, ms]) => `${name} ${ms} ms`).join(", "),
  );
  assert.ok(up_ms < 250 * empty_ms, `up took ${up_ms} ms, an empty process ${empty_ms} ms`);
  for (const [name, ms] of starts_ms) {
    assert.ok(ms < 50 * empty_ms, `${name} took ${ms} ms, an empty process ${empty_ms} ms`);
  }
});
