import assert from "node:assert/strict";
import { freePort } from "./nats.ts";

Deno.test("a port is given once, however many are asked for", () => {
  const ports = Array.from({ length: 3_000 }, freePort);
  assert.equal(new Set(ports).size, ports.length);
});
