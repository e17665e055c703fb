/** Starts vpcd on this node. */
import { ResourceAuthorizer } from "../aws/authorizer.ts";
import { runService } from "../runtime/run_service.ts";
import { startVpcd } from "./vpcd.ts";

await runService("vpcd", async ({ bus, config, log, onStop, reportHealth }) => {
  const authorizer = new ResourceAuthorizer(bus);
  onStop(() => authorizer[Symbol.asyncDispose]());
  const vpcd = await startVpcd({
    bus,
    log,
    config,
    authorize: (wish, call) => authorizer.may(wish, call),
  });
  onStop(() => vpcd.stop());
  reportHealth(() => ({ status: "ok", facts: vpcd.facts() }));
});
