import assert from "node:assert/strict";
import { join } from "node:path";
import type { ServiceSpec } from "../../services/manifest.ts";
import { createLog } from "../../services/log/log.ts";
import { until } from "../../tests/kit/until.ts";
import { LogFile } from "./log_file.ts";
import { isAlive } from "./process_identity.ts";
import { backOff_ms, RunningService } from "./running_service.ts";

const soon = (what: string, holds: () => boolean) => until(what, holds);

/** A service that is the given shell line, well as soon as its file says so. */
async function shellService(line: string, stop_timeout_ms = 60_000) {
  const directory = await Deno.makeTempDir({ prefix: "mulga-service-" });
  const spec: ServiceSpec = {
    name: "console",
    summary: "a test's own",
    entry: { program: "sh", args: [] },
    after: [],
    user: "nobody",
    groups: [],
    ports: [],
    permissions: {},
    bus: { hears: [], says: [] },
    health: "bus",
    stop_timeout_ms,
  };
  const logFile = new LogFile(join(directory, "log"), "console");
  const lines: string[] = [];
  const service = new RunningService({
    spec,
    command: {
      program: "sh",
      args: ["-c", line],
      env: { PATH: Deno.env.get("PATH") ?? "", DIRECTORY: directory },
    },
    logFile,
    log: createLog("supervisor", { write: (text) => void lines.push(text) }),
    probe: () =>
      Promise.resolve(
        [...Deno.readDirSync(directory)].some((entry) => entry.name === "well")
          ? { status: "ok" as const, facts: {} }
          : undefined,
      ),
  });
  return {
    service,
    directory,
    lines,
    async [Symbol.asyncDispose]() {
      await service.stop();
      logFile[Symbol.dispose]();
      await Deno.remove(directory, { recursive: true });
    },
  };
}

Deno.test("a service that is killed runs again by itself", async () => {
  await using made = await shellService('touch "$DIRECTORY/well"; exec sleep 1000');
  made.service.start([]);
  await made.service.well;
  const first = made.service.identity!;
  Deno.kill(first.pid, "SIGKILL");
  await soon("a new process", () => {
    const now = made.service.identity;
    return now !== undefined && now.pid !== first.pid;
  });
  await soon("it to be well again", () => made.service.status.state === "ok");
  assert.equal(made.service.status.restarts, 1);
  assert.ok(!isAlive(first));
});

Deno.test("a service that keeps failing is started ever more seldom, and its last error is told", async () => {
  assert.deepEqual([0, 1, 2, 3, 9, 100].map(backOff_ms), [20, 40, 80, 160, 10_000, 10_000]);
  await using made = await shellService(
    'echo x >> "$DIRECTORY/starts"; echo "error: no luck"; exit 3',
  );
  made.service.start([]);
  await soon("three restarts", () => made.service.status.restarts >= 3);
  assert.equal(made.service.status.last_error, "error: no luck");
  const ended = made.lines.map((line) => JSON.parse(line)).filter((line) =>
    line.event === "service_ended"
  ).map((line) => Date.parse(line.ts));
  for (const restart of [0, 1]) {
    // Starting takes its time besides; the clock of the log counts whole milliseconds.
    const gap = (ended[restart + 1] ?? 0) - (ended[restart] ?? 0);
    assert.ok(gap >= backOff_ms(restart) - 1, `restart ${restart} came after ${gap} ms`);
  }
  assert.equal(JSON.parse(made.lines[0] ?? "{}").code, 3);
});

Deno.test("a program that is not there is a failing service, not a dead supervisor", async () => {
  const made = await shellService("true");
  const service = new RunningService({
    ...made.service.options,
    command: { program: "/nonexistent/program", args: [], env: {} },
  });
  service.start([]);
  await soon("a failure", () => service.status.restarts >= 1);
  assert.notEqual(service.status.last_error, undefined);
  await service.stop();
  await made[Symbol.asyncDispose]();
});

Deno.test("a service waits for those that it needs", async () => {
  await using needed = await shellService(
    'read -r line < "$DIRECTORY/go"; touch "$DIRECTORY/well"; exec sleep 1000',
  );
  await using needing = await shellService('touch "$DIRECTORY/well"; exec sleep 1000');
  await new Deno.Command("mkfifo", { args: [join(needed.directory, "go")] }).output();
  needing.service.start([needed.service]);
  needed.service.start([]);
  await soon("the needed one to start", () => needed.service.status.state === "starting");
  assert.equal(needing.service.status.state, "waiting");
  assert.equal(needing.service.identity, undefined);
  await Deno.writeTextFile(join(needed.directory, "go"), "go\n");
  await needing.service.well;
  assert.equal(needed.service.status.state, "ok");
});

Deno.test("a stop is asked for gracefully; what ignores it is killed at its time-out", async () => {
  await using polite = await shellService(
    'trap "touch \\"$DIRECTORY/stopped\\"; exit 0" TERM; touch "$DIRECTORY/well"; while :; do sleep 0.02; done',
  );
  polite.service.start([]);
  await polite.service.well;
  assert.equal(await polite.service.stop(), true);
  assert.ok(Deno.statSync(join(polite.directory, "stopped")).isFile);
  assert.equal(polite.service.status.state, "stopped");

  await using deaf = await shellService(
    'trap "" TERM; touch "$DIRECTORY/well"; while :; do sleep 0.02; done',
    200,
  );
  deaf.service.start([]);
  await deaf.service.well;
  const identity = deaf.service.identity!;
  assert.equal(await deaf.service.stop(), false);
  assert.ok(!isAlive(identity));
});

Deno.test("a restart that was asked for is no failure and waits for nothing", async () => {
  await using made = await shellService('touch "$DIRECTORY/well"; exec sleep 1000');
  made.service.start([]);
  await made.service.well;
  const first = made.service.identity!;
  await made.service.restart();
  await soon("a new process", () => made.service.status.state === "ok");
  assert.notEqual(made.service.identity?.pid, first.pid);
  assert.ok(!made.lines.some((line) => line.includes("service_ended")));
});
