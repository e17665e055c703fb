import assert from "node:assert/strict";
import { startNats, testLog } from "../../tests/kit/nats.ts";
import { AwsError } from "../aws/errors.ts";
import { kind } from "./kind.ts";
import { Records } from "./records.ts";

const task = kind<{ readonly state: string }>({
  name: "task",
  idPrefix: "task-",
  id: "TaskId",
  notFound: "InvalidTask.NotFound",
  filters: ["state"],
});

Deno.test("a refusal is believed when it was decided on the newest record", async () => {
  await using nats = await startNats();
  await using records = await Records.open([task], "tasks", await nats.bus(), testLog);
  const account = "111111111111";
  const { id } = await records.create(task, account, { state: "done" });
  const key = records.of(task).keyOf(account, id);
  const old = records.table.get(key);
  await records.change(task, account, id, () => ({ state: "active" }));
  const end = () =>
    records.change(task, account, id, ({ shape }) => {
      if (shape.state !== "active") throw new AwsError("IncorrectState", "It is done.");
      return { state: "done" };
    });
  // As a copy is whose watch has not come so far yet.
  const get = records.table.get.bind(records.table);
  let isBehind = true;
  records.table.get = (of) => isBehind ? old as ReturnType<typeof get> : get(of);
  const { waitFor } = records.table;
  records.table.waitFor = async (revision) => {
    isBehind = false;
    await waitFor.call(records.table, revision);
  };
  assert.equal((await end()).shape.state, "done");
  await assert.rejects(end(), { code: "IncorrectState" });
});
