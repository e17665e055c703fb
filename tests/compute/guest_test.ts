import assert from "node:assert/strict";
import { tinyGuestImage, tinyGuestReady, tinyGuestUserDataDone } from "../kit/tiny_guest.ts";
import { launch, reach } from "./launches.ts";
import { startNode, type TestNode } from "./node.ts";

const userData = `#!/bin/sh
echo "probe host: $(nc -w 2 172.31.0.1 $PORT </dev/null 2>&1 | head -c 40)"
`;

async function ready(node: TestNode, id: string, boots = 1): Promise<void> {
  await node.until(
    `boot ${boots} of ${id}`,
    async () => (await node.console(id)).split(`${tinyGuestReady}${id}`).length > boots,
    120_000,
  );
}

Deno.test("a guest boots, finds its metadata, runs its user data, and reaches nothing else", async () => {
  await using node = await startNode({ disk: await tinyGuestImage() });
  // Somebody listens on the host's loopback; the guest must not get there.
  using listener = Deno.listen({ hostname: "127.0.0.1", port: 0 });
  let reached = 0;
  void (async () => {
    for await (const connection of listener) {
      reached++;
      connection.close();
    }
  })().catch(() => {});
  const started = performance.now();
  const id = await launch(node, {
    UserData: btoa(userData.replace("$PORT", String(listener.addr.port))),
  });
  const answered = performance.now() - started;
  await reach(node, id, "running");
  const running = performance.now() - started;
  await ready(node, id);
  const booted = performance.now() - started;
  await node.until(
    "user data",
    async () => (await node.console(id)).includes(`${tinyGuestUserDataDone}0`),
  );
  assert.equal(reached, 0);
  console.log({ answered, running, booted });
  const output = await node.call("GetConsoleOutput", { InstanceId: id });
  assert.ok(atob(output.Output ?? "").includes(tinyGuestReady));

  await node.call("StopInstances", { InstanceIds: [id] });
  await reach(node, id, "stopped");
  console.log({ stopped: performance.now() - started });
  await node.call("TerminateInstances", { InstanceIds: [id] });
  await reach(node, id, "terminated");
  assert.equal(node.blocks.sizes.size, 0);
});
