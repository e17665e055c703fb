import assert from "node:assert/strict";
import { until, untilWorks } from "./until.ts";

Deno.test("waiting ends with what holds; an error ends it where errors are no part of the waiting", async () => {
  let looks = 0;
  assert.equal(await until("the third look", () => ++looks === 3 && "third"), "third");
  const broken = () => {
    if (++looks < 6) throw new Error("not yet");
    return "works";
  };
  await assert.rejects(until("what is broken", broken), /not yet/);
  assert.equal(await untilWorks("what is broken", broken), "works");
});

Deno.test("what never comes is a failure that names it, and its last error", async () => {
  await assert.rejects(until("the moon", () => false, 30), /30 ms in vain: the moon/);
  const cause = new Error("no rocket");
  await assert.rejects(untilWorks("the moon", () => Promise.reject(cause), 30), {
    message: "Waited 30 ms in vain: the moon",
    cause,
  });
});
