import assert from "node:assert/strict";
import { startNats } from "../../tests/kit/nats.ts";
import { systemContext } from "../bus/subject.ts";
import { actionSubject, register } from "./actions.ts";
import { invalidValue } from "./errors.ts";

const caller = {
  ...systemContext(600_000),
  account_id: "111111111111",
  principal_arn: "arn:aws:iam::111111111111:user/alice",
};

Deno.test("every action runs in one frame", async () => {
  await using nats = await startNats();
  const bus = await nats.bus();
  const ran: string[] = [];
  const { actions } = register(bus, {
    DeleteVolume: {
      resources: (input) => [`arn:${input.VolumeId}`],
      check: (input) => {
        if (input.VolumeId === "bad") throw invalidValue("bad");
      },
      run: (input) => {
        ran.push(input.VolumeId);
        return {};
      },
    },
    DescribeVolumes: { run: (_input, call) => ({ NextToken: call.account_id }) },
  }, { authorize: (request) => Promise.resolve(request.resource !== "arn:forbidden") });
  assert.deepEqual(actions, ["DeleteVolume", "DescribeVolumes"]);
  const remove = (VolumeId: string, DryRun?: boolean, context = caller) =>
    bus.ask(
      actionSubject("DeleteVolume"),
      { VolumeId, ...(DryRun === undefined ? {} : { DryRun }) },
      context,
    );

  await remove("one");
  await remove("two", false);
  await assert.rejects(remove("three", true), { code: "DryRunOperation", status: 412 });
  await assert.rejects(remove("bad", true), { code: "InvalidParameterValue" });
  await assert.rejects(remove("forbidden"), { code: "UnauthorizedOperation", status: 403 });
  await assert.rejects(remove("forbidden", true), { code: "UnauthorizedOperation" });
  await assert.rejects(remove("none", false, systemContext(1000)), {
    code: "UnauthorizedOperation",
  });
  assert.deepEqual(ran, ["one", "two"]);
  assert.deepEqual(await bus.ask(actionSubject("DescribeVolumes"), {}, caller), {
    NextToken: "111111111111",
  });
});
