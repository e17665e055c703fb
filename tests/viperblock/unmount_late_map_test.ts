/** A map that the object store refused at first, and that lands after the volume was unmounted with a newer one. */
import assert from "node:assert/strict";
import { until } from "../kit/until.ts";
import { NbdClient } from "./nbd_client.ts";
import { startOneRow, volume_id } from "./one_row.ts";

const blockBytes = 4096;
const block = (fill: number) => new Uint8Array(blockBytes).fill(fill);

Deno.test("what an unmount that was refused still had on its way replaces nothing of the next", async () => {
  let isRefusing = true;
  const late: (() => Promise<void>)[] = [];
  await using world = await startOneRow((store) => ({
    ...store,
    async put(key, body) {
      if (!isRefusing || !key.startsWith("maps/")) return await store.put(key, body);
      late.push(() => store.put(key, body));
      throw new Error("the store does not answer");
    },
  }));
  const { mounts, socket } = world;
  const connect = () =>
    until(
      "the volume is served",
      () => NbdClient.connect(socket, volume_id).catch(() => undefined),
    );
  await mounts.mount(volume_id);
  let client = await connect();
  await client.write(0, block(1));
  await assert.rejects(mounts.unmount(volume_id), { code: "ServiceUnavailable" });
  await client[Symbol.asyncDispose]();
  client = await connect();
  await client.write(0, block(2));
  await client.write(blockBytes, block(3));
  await client[Symbol.asyncDispose]();
  isRefusing = false;
  await mounts.unmount(volume_id);
  assert.ok(late.length > 0);
  for (const land of late) await land();
  await mounts.mount(volume_id);
  client = await connect();
  const found = await client.read(0, 2 * blockBytes);
  await client[Symbol.asyncDispose]();
  assert.deepEqual([found[0], found[blockBytes]], [2, 3]);
});
