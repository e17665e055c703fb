import assert from "node:assert/strict";
import type { AuditEntry } from "./contract.ts";
import {
  everybody,
  keptOfAll,
  keptOfNetwork,
  minute_ms,
  mostCounts,
  networkOf,
  Strangers,
} from "./strangers.ts";

let number = 0;
const entry = (source_ip: string, error_code: string | undefined, service = "ec2"): AuditEntry => ({
  ts: new Date(1_795_000_000_000 + number).toISOString(),
  request_id: `request-${++number}`,
  service,
  action: "unknown",
  account_id: "",
  principal_arn: "",
  source_ip,
  user_agent: "",
  status: error_code === undefined ? 200 : 403,
  ...(error_code === undefined ? {} : { error_code }),
  duration_ms: 1,
});
const noted = (strangers: Strangers, entries: readonly AuditEntry[], now_ms = 0) =>
  entries.filter((one) => strangers.note(one, now_ms));

Deno.test("the first refusals of a minute are kept one by one, the others counted by what they were", () => {
  const strangers = new Strangers();
  const flood = Array.from({ length: 5_000 }, () => entry("192.0.2.1", "AuthFailure"));
  assert.deepEqual(noted(strangers, flood), flood.slice(0, keptOfNetwork));
  const other = entry("192.0.2.1", "SignatureDoesNotMatch");
  assert.deepEqual(noted(strangers, [other]), []);
  // A neighbour who mistypes is seen, whatever others do.
  const honest = entry("192.0.2.2", "AuthFailure");
  assert.deepEqual(noted(strangers, [honest]), [honest]);
  assert.deepEqual(strangers.ended(minute_ms - 1), []);
  const first = flood[keptOfNetwork]!;
  assert.deepEqual(strangers.ended(minute_ms), [
    { ...first, count: 5_000 - keptOfNetwork, until: flood.at(-1)!.ts },
    other,
  ]);
  assert.deepEqual(strangers.ended(minute_ms), []);
  const next = entry("192.0.2.1", "AuthFailure");
  assert.deepEqual(noted(strangers, [next], minute_ms), [next]);
});

Deno.test("reads that are answered without a signature are counted by what was done", () => {
  const strangers = new Strangers();
  const reads = Array.from(
    { length: 300 },
    () => ({ ...entry("192.0.2.1", undefined, "s3"), action: "GetObject" }),
  );
  assert.deepEqual(noted(strangers, reads), []);
  const [one, ...none] = strangers.ended(minute_ms);
  assert.deepEqual([one?.action, one?.count, none], ["GetObject", 300, []]);
});

Deno.test("neither many networks nor made-up names make many entries, and none is left uncounted", () => {
  const strangers = new Strangers();
  const all = Array.from(
    { length: 20_000 },
    (_, n) => entry(`2001:db8:${n.toString(16)}::1`, "AuthFailure", `service-${n}`),
  );
  const kept = noted(strangers, all);
  assert.equal(kept.length, keptOfAll);
  const counted = strangers.ended(minute_ms);
  assert.equal(counted.length, mostCounts + 1);
  assert.equal(
    counted.reduce((sum, { count = 1 }) => sum + count, kept.length),
    all.length,
  );
  assert.equal(counted.filter(({ source_ip }) => source_ip === everybody).length, 1);

  const names = Array.from(
    { length: 20_000 },
    (_, n) => entry("192.0.2.1", "AuthFailure", `service-${n}`),
  );
  assert.equal(noted(strangers, names, minute_ms).length, keptOfNetwork);
  assert.equal(strangers.ended(2 * minute_ms).length, 1);
});

Deno.test("an IPv6 address stands for its /64", () => {
  assert.equal(networkOf("192.0.2.1"), "192.0.2.1");
  assert.equal(networkOf("2001:db8:1:2:3:4:5:6"), "2001:db8:1:2::/64");
  assert.equal(networkOf("2001:DB8:1::6"), "2001:db8:1:0::/64");
  assert.equal(networkOf("2001:0db8:0001:0002::"), "2001:db8:1:2::/64");
  assert.equal(networkOf("fe80::1%eth0"), "fe80:0:0:0::/64");
  assert.equal(networkOf("::1"), "0:0:0:0::/64");
  assert.equal(networkOf(""), "");
});
