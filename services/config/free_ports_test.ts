import assert from "node:assert/strict";
import { freePorts } from "./free_ports.ts";

Deno.test("free ports are not those that the kernel gives to any connection, and differ", () => {
  const range = Deno.readTextFileSync("/proc/sys/net/ipv4/ip_local_port_range");
  const first = Number(range.split(/\s+/)[0]);
  const ports = freePorts(500);
  assert.equal(new Set(ports).size, 500);
  if (first > 11_000) assert.ok(ports.every((port) => port >= 10_000 && port < first));
});
