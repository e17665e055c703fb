import { systemTime } from "./orders.ts";

Deno.test("whom nothing is waited for any more does not begin to wait", async () => {
  // A timer that stayed would be told by the test's own checks.
  await systemTime.pause(60_000, AbortSignal.abort());
});
