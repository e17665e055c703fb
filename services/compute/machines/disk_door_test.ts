import assert from "node:assert/strict";
import { createLog } from "../../log/log.ts";
import { chooseDiskDoor, whyNotShared } from "./disk_door.ts";

const silent = createLog("test", { write: () => {} });
const shares = () => Promise.resolve(undefined);
const doesNot = () => Promise.resolve("no such device");

Deno.test("guests share their memory with the engine unless the operator or QEMU is against it", async () => {
  assert.equal(await chooseDiskDoor(undefined, silent, shares), "vhost-user");
  assert.equal(await chooseDiskDoor("vhost-user", silent, shares), "vhost-user");
  assert.equal(await chooseDiskDoor("nbd", silent, shares), "nbd");
  const said: string[] = [];
  const log = createLog("test", { write: (line) => said.push(line) });
  assert.equal(await chooseDiskDoor(undefined, log, doesNot), "nbd");
  assert.equal(await chooseDiskDoor("vhost-user", log, doesNot), "nbd");
  assert.deepEqual(said.map((line) => JSON.parse(line).reason), [
    "no such device",
    "no such device",
  ]);
});

Deno.test("a QEMU that cannot do what it takes says what that is", async () => {
  const directory = await Deno.makeTempDir({ prefix: "mulga-qemu-" });
  try {
    const program = async (script: string) => {
      const path = `${directory}/${crypto.randomUUID()}`;
      await Deno.writeTextFile(path, `#!/bin/sh\n${script}\n`, { mode: 0o700 });
      return path;
    };
    assert.match(
      await whyNotShared(await program("echo 'Invalid parameter reconnect-ms' >&2; exit 1")) ?? "",
      /reconnect-ms/,
    );
    assert.match(
      await whyNotShared(await program(`cat >/dev/null; echo '{"error": {"desc": "none"}}'`)) ?? "",
      /has no vhost-user-blk-pci/,
    );
    assert.match(await whyNotShared(`${directory}/absent`) ?? "", /cannot be started/);
  } finally {
    await Deno.remove(directory, { recursive: true });
  }
});
