import assert from "node:assert/strict";
import { startNats, testLog } from "../../../tests/kit/nats.ts";
import { systemContext } from "../../bus/subject.ts";
import { newId } from "../../resources/ids.ts";
import { Resources } from "../../resources/resource.ts";
import { instanceActions } from "./instance_actions.ts";
import { instanceType } from "./instance_resource.ts";
import type { RunDependencies } from "./run_instances.ts";

Deno.test("while the state cannot be read nobody is told that an instance does not exist", async () => {
  await using nats = await startNats();
  const bus = await nats.bus("compute");
  await using instances = await Resources.open(instanceType, bus, testLog);
  const actions = instanceActions({ bus, instances } as RunDependencies);
  const terminate = () =>
    actions.TerminateInstances.run(
      { InstanceIds: [newId("i-")] } as never,
      { ...systemContext(10_000), account_id: "123456789012" } as never,
    );
  await assert.rejects(terminate, { code: "InvalidInstanceID.NotFound" });
  await nats.kill();
  await assert.rejects(terminate, { code: "ServiceUnavailable" });
});
