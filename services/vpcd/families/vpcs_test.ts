import assert from "node:assert/strict";
import { ipv6Of } from "./vpcs.ts";

Deno.test("a VPC's IPv6 block is written as such blocks are everywhere else", () => {
  assert.equal(ipv6Of("vpc-4ae84808b10bc5600"), "fd4a:e848:8b1:b00::/56");
  assert.equal(ipv6Of("vpc-00000000000000000"), "fd00::/56");
});
