/** A service that is told to stop while a volume's disk answers nothing. */
import assert from "node:assert/strict";
import { until } from "../kit/until.ts";
import { NbdClient } from "./nbd_client.ts";
import { startOneRow, volume_id } from "./one_row.ts";
import { refusingDisk } from "./refusing_disk.ts";

Deno.test(
  "an engine that waits for its disk holds up a stop for a while only, and nobody who asked for an unmount of it",
  { ignore: Deno.uid() !== 0 },
  async () => {
    await using disk = await refusingDisk();
    const said: string[] = [];
    const lines = { write: (line: string) => said.push(line) };
    await using world = await startOneRow(undefined, lines, { on: disk.at, stopPatienceMs: 50 });
    const { mounts, socket } = world;
    await mounts.mount(volume_id);
    const client = await NbdClient.connect(socket, volume_id);
    await disk.freeze();
    try {
      client.write(0, new Uint8Array(4096).fill(7)).catch(() => {});
      const unmounting = assert.rejects(mounts.unmount(volume_id), { code: "ServiceUnavailable" });
      let isStopped = false;
      void mounts.stop().then(() => isStopped = true);
      // Bounded, since a disk that stayed frozen would hold this process for ever.
      await until("it has stopped", () => isStopped);
      await unmounting;
      assert.ok(
        said.some((line) => line.includes("engines_not_ended") && line.includes(volume_id)),
      );
    } finally {
      await disk.thaw();
      await client[Symbol.asyncDispose]();
    }
    await mounts.volumes.get(volume_id)?.ended;
  },
);
