/** The object store is away while a snapshot waits for it: whoever unmounts the volume gets it back. */
import assert from "node:assert/strict";
import { until } from "../kit/until.ts";
import { startBare } from "./bare_engine.ts";
import { NbdClient } from "./nbd_client.ts";

const block = 4096;

Deno.test("an unmount beside a snapshot that cannot be stored is given up: the volume is served on, and unmounted when the store is back", async () => {
  const directory = await Deno.makeTempDir({ prefix: "mulga-unmount-", dir: "/var/tmp" });
  const socket = `${directory}/socket`;
  try {
    const engine = await startBare({ directory, socket, sizeBytes: 16 << 20, epoch: 1 });
    const content = new Uint8Array(block).fill(7);
    let client = await NbdClient.connect(socket, "vol-bare");
    await client.write(0, content);
    await Deno.writeTextFile(`${directory}/objects.down`, "");
    const snapshot = await engine.freeze();
    engine.process.kill("SIGHUP");
    await client.ended;
    client = await until(
      "the volume is served again",
      () => NbdClient.connect(socket, "vol-bare").catch(() => undefined),
    );
    assert.deepEqual(await client.read(0, block), content);
    await client.write(block, content);
    await client[Symbol.asyncDispose]();
    await Deno.remove(`${directory}/objects.down`);
    await snapshot.stored();
    const map = await engine.unmount();
    assert.equal(map.mapped_blocks, 2);
  } finally {
    await Deno.remove(directory, { recursive: true });
  }
});
