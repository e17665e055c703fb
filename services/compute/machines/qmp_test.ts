import assert from "node:assert/strict";
import { join } from "node:path";
import { untilListening } from "../../../tests/kit/listening.ts";
import { QmpClient, QmpClosed, QmpError, type QmpEvent, QmpTimeout } from "./qmp.ts";

/** A real QEMU without a guest. */
async function startQemu() {
  const directory = await Deno.makeTempDir({ prefix: "mulga-qmp-" });
  const path = join(directory, "q.qmp");
  const process = new Deno.Command("qemu-system-x86_64", {
    args: [
      ...["-machine", "none", "-nodefaults", "-display", "none"],
      ...["-qmp", `unix:${path},server=on,wait=off`],
    ],
    stdin: "null",
    stdout: "null",
    stderr: "inherit",
  }).spawn();
  await untilListening(path);
  return {
    path,
    process,
    async [Symbol.asyncDispose]() {
      try {
        process.kill("SIGKILL");
      } catch {
        // It has ended by itself.
      }
      await process.status;
      await Deno.remove(directory, { recursive: true });
    },
  };
}

Deno.test("commands are answered, also many at once, and errors keep QEMU's class", async () => {
  await using qemu = await startQemu();
  await using client = await QmpClient.connect(qemu.path);
  const answers = await Promise.all(
    Array.from({ length: 50 }, () => client.execute<{ status: string }>("query-status")),
  );
  assert.ok(answers.every((answer) => answer.status === "running"));
  await assert.rejects(
    client.execute("no-such-command"),
    (error: unknown) => error instanceof QmpError && error.errorClass === "CommandNotFound",
  );
});

Deno.test("a second client waits in vain and is served once the first has left", async () => {
  await using qemu = await startQemu();
  const first = await QmpClient.connect(qemu.path);
  await assert.rejects(QmpClient.connect(qemu.path, 200), QmpTimeout);
  await first[Symbol.asyncDispose]();
  await assert.rejects(first.execute("query-status"), QmpClosed);
  await using second = await QmpClient.connect(qemu.path);
  assert.equal((await second.execute<{ status: string }>("query-status")).status, "running");
});

Deno.test("events are heard, and quit ends the connection and the process", async () => {
  await using qemu = await startQemu();
  await using client = await QmpClient.connect(qemu.path);
  const events: QmpEvent[] = [];
  client.onEvent((event) => events.push(event));
  await client.execute("stop");
  await client.execute("quit");
  await client.closed;
  assert.equal((await qemu.process.status).code, 0);
  assert.deepEqual(events.map((event) => event.event), ["STOP", "SHUTDOWN"]);
  await assert.rejects(QmpClient.connect(qemu.path));
});

Deno.test("a killed QEMU fails what was under way and refuses the next connect", async () => {
  await using qemu = await startQemu();
  await using client = await QmpClient.connect(qemu.path);
  qemu.process.kill("SIGSTOP");
  const waiting = assert.rejects(client.execute("query-status"), QmpClosed);
  qemu.process.kill("SIGKILL");
  await waiting;
  await qemu.process.status;
  await client.closed;
  await assert.rejects(QmpClient.connect(qemu.path), Deno.errors.ConnectionRefused);
});

Deno.test("a QEMU that hangs runs into the bound", async () => {
  await using qemu = await startQemu();
  await using client = await QmpClient.connect(qemu.path);
  qemu.process.kill("SIGSTOP");
  await assert.rejects(client.execute("query-status", {}, 100), QmpTimeout);
});
