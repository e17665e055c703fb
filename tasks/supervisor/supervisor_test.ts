import assert from "node:assert/strict";
import { join } from "node:path";
import { createLog } from "../../services/log/log.ts";
import { services, type ServiceSpec } from "../../services/manifest.ts";
import { initNode } from "../init/init.ts";
import { placeNatsServer } from "../setup/nats_server.ts";
import { repository } from "../stack/repository.ts";
import { askSupervisor, recordFile, statusOf } from "./control.ts";
import { isAlive, readRecord, startOf, writeRecord } from "./process_identity.ts";
import { AlreadyRunning, endLeftovers, Supervisor } from "./supervisor.ts";

const silent = createLog("supervisor", { write: () => {} });

/** A node with a real nats-server and one tiny service of ours. */
async function node() {
  const dataDir = await Deno.makeTempDir({ prefix: "mulga-node-" });
  const { config, paths } = await initNode(dataDir, { ports: { auto: true } });
  await placeNatsServer(paths);
  const entry = join(dataDir, "tiny_service.ts");
  await Deno.writeTextFile(
    entry,
    `import { runService } from "${repository}/services/runtime/run_service.ts";
await runService("console", async (service) => {
  service.reportHealth(() => ({ status: "ok", facts: { answer: 42 } }));
  await service.bus.ready(5_000);
});
`,
  );
  const nats = services.find((spec) => spec.name === "nats");
  const own = services.find((spec) => spec.name === "console");
  if (nats === undefined || own === undefined) throw new Error("the table has no such service");
  const table: ServiceSpec[] = [nats, { ...own, entry, after: ["nats"] }];
  const options = { config, paths, repository, services: table, log: silent };
  return {
    paths,
    options,
    async [Symbol.asyncDispose]() {
      await Deno.remove(dataDir, { recursive: true });
    },
  };
}

Deno.test("services start in order, tell their health, and stop in reverse; a second supervisor is refused", async () => {
  await using made = await node();
  const supervisor = await Supervisor.take(made.options);
  await assert.rejects(Supervisor.take(made.options), AlreadyRunning);
  await supervisor.start();
  await supervisor.well();
  const status = await statusOf(made.paths);
  assert.deepEqual(status?.services.map((one) => [one.name, one.state]), [
    ["nats", "ok"],
    ["console", "ok"],
  ]);
  assert.equal(status?.services[1]?.facts?.["answer"], 42);
  assert.equal((await readRecord(recordFile(made.paths))).length, 2);
  const said: string[] = [];
  for await (const reply of askSupervisor(made.paths, { ask: "stop" })) {
    if ("say" in reply) said.push(reply.say);
  }
  assert.deepEqual(said.filter((text) => text.endsWith(" stopped")), [
    "console stopped",
    "nats stopped",
  ]);
  await supervisor.stopped;
  supervisor.release();
  assert.equal(await statusOf(made.paths), undefined);
  const again = await Supervisor.take(made.options);
  again.release();
});

Deno.test("what a killed supervisor left is ended by the next, and nobody else's process is touched", async () => {
  await using made = await node();
  const spawn = () =>
    new Deno.Command("sleep", { args: ["1000"], stdin: "null", stdout: "null" }).spawn();
  const [left, stranger] = [spawn(), spawn()];
  const identityOf = (child: Deno.ChildProcess) => ({
    name: "console",
    pid: child.pid,
    started: startOf(child.pid) ?? "",
  });
  await writeRecord(recordFile(made.paths), [
    identityOf(left),
    // The same number, but of a process that started at another time.
    { name: "compute", pid: stranger.pid, started: "1" },
  ]);
  assert.equal(await endLeftovers(made.paths, silent), 1);
  await left.status;
  assert.ok(isAlive(identityOf(stranger)));
  assert.deepEqual(await readRecord(recordFile(made.paths)), []);
  stranger.kill("SIGKILL");
  await stranger.status;
});
