/**
 * How long people wait: for the API after `up`, and for each service after its process starts. The
 * bounds are the product's promises, several times what an idle two-core machine takes.
 */
import assert from "node:assert/strict";
import { services } from "../../services/manifest.ts";
import { startStack } from "../kit/stack.ts";

interface Status {
  readonly services: readonly { readonly name: string; readonly start_ms: number }[];
}

Deno.test("on a set-up machine the API answers within 10 s, each service within 2 s", async () => {
  await using stack = await startStack();
  const down = await stack.down();
  assert.equal(down.code, 0, down.stderr);
  const started = performance.now();
  const up = await stack.up("--no-image");
  const up_ms = performance.now() - started;
  assert.equal(up.code, 0, up.stderr);
  await stack.aws("sts", "get-caller-identity");
  const status: Status = JSON.parse(await stack.hive("status", "--json"));
  assert.equal(status.services.length, services.length);
  console.log(
    `up ${Math.round(up_ms)} ms; `,
    status.services.map((service) => `${service.name} ${service.start_ms} ms`).join(", "),
  );
  assert.ok(up_ms < 10_000, `up took ${up_ms} ms`);
  for (const { name, start_ms } of status.services) {
    assert.ok(start_ms > 0 && start_ms < 2_000, `${name} took ${start_ms} ms`);
  }
});
