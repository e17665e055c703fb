/** The state tables go away just when an unmount has moved everything to the object store: nobody is left without the volume. */
import assert from "node:assert/strict";
import { createLog } from "../../services/log/log.ts";
import { unavailable } from "../../services/aws/errors.ts";
import { Mounts, type MountsOptions } from "../../services/viperblock/mounts/mounts.ts";
import type { VolumeRow } from "../../services/viperblock/records.ts";
import { until } from "../kit/until.ts";
import { directoryStore } from "./bare_engine.ts";
import { NbdClient } from "./nbd_client.ts";

const block = 4096;

Deno.test("a volume whose unmount the tables did not take is served again, and unmounted when they are back", async () => {
  const directory = await Deno.makeTempDir({ prefix: "mulga-row-", dir: "/var/tmp" });
  const volume_id = "vol-row";
  let row: VolumeRow = { volume_id, size_bytes: 16 << 20, epoch: 0, state: "ok" };
  let revision = 1;
  let isAway = false;
  const written = (value: VolumeRow) => {
    if (isAway) throw unavailable("The state store");
    row = value;
    return { key: volume_id, value, revision: ++revision, bytes: 0 };
  };
  const read = () => ({ key: volume_id, value: row, revision, bytes: 0 });
  const mounts = new Mounts({
    nodeId: "node-1",
    directory: `${directory}/volumes`,
    socket: () => `${directory}/socket`,
    tables: {
      volumes: {
        watch: () => () => {},
        list: () => [read()],
        // deno-lint-ignore require-await
        read: async () => read(),
        // deno-lint-ignore require-await
        update: async (_key: string, value: VolumeRow) => written(value),
        // deno-lint-ignore require-await
        modify: async (_key: string, change: (value: VolumeRow) => VolumeRow) =>
          written(change(row)),
      },
      snapshots: { list: () => [] },
    },
    store: directoryStore(`${directory}/objects`),
    keyOf: () => Promise.reject(new Error("it is not encrypted")),
    log: createLog("test", { write: () => {} }),
    reserveBytes: 0,
    cacheBytes: () => 16 << 20,
  } as unknown as MountsOptions);
  try {
    await Deno.mkdir(`${directory}/volumes`);
    await Deno.mkdir(`${directory}/objects`);
    await mounts.mount(volume_id);
    const content = new Uint8Array(block).fill(7);
    const client = await NbdClient.connect(`${directory}/socket`, volume_id);
    await client.write(0, content);
    isAway = true;
    await assert.rejects(mounts.unmount(volume_id));
    assert.equal(row.mounted_on, "node-1");
    isAway = false;
    const again = await until(
      "the volume is served again",
      () => NbdClient.connect(`${directory}/socket`, volume_id).catch(() => undefined),
    );
    assert.deepEqual(await again.read(0, block), content);
    await again.write(block, content);
    await again[Symbol.asyncDispose]();
    assert.equal(await mounts.unmount(volume_id), true);
    assert.deepEqual([row.mounted_on, row.map?.mapped_blocks], [undefined, 2]);
  } finally {
    await mounts.stop();
    await Deno.remove(directory, { recursive: true });
  }
});
