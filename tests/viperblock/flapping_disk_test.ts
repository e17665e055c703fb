/** A disk that takes writes for a moment, again and again. */
import assert from "node:assert/strict";
import { until } from "../kit/until.ts";
import { NbdClient } from "./nbd_client.ts";
import { startOneRow, volume_id } from "./one_row.ts";
import { refusingDisk } from "./refusing_disk.ts";

Deno.test(
  "a volume whose disk takes writes only for a moment is opened for writing ever less often, with all that was acknowledged",
  { ignore: Deno.uid() !== 0 },
  async () => {
    await using disk = await refusingDisk();
    const pauses: number[] = [];
    const lines = {
      write(line: string) {
        const { event, pause_ms } = JSON.parse(line);
        if (event === "volume_disk_answers") pauses.push(pause_ms);
      },
    };
    await using world = await startOneRow(undefined, lines, { on: disk.at, readAgainMs: [] });
    const { mounts, socket } = world;
    const content = (block: number) => new Uint8Array(4096).fill(block + 1);
    /** While the disk takes what it is given; one that refuses may call a write whole of which it took a part. */
    const acknowledged: number[] = [];
    let next = 0;
    let isTaking = true;
    const isWritten = async () => {
      try {
        await using client = await NbdClient.connect(socket, volume_id);
        const block = next++;
        await client.write(block * 4096, content(block), true);
        if (isTaking) acknowledged.push(block);
        return true;
      } catch {
        return false;
      }
    };
    await mounts.mount(volume_id);
    for (let time = 1; time <= 2; time++) {
      assert.ok(await isWritten());
      isTaking = false;
      await disk.refuse();
      await until("it can only be read", async () => {
        if (mounts.damaged.size === 0) await isWritten();
        return mounts.damaged.size > 0;
      });
      await disk.take();
      isTaking = true;
      await until("it can be written again", isWritten);
    }
    await using client = await NbdClient.connect(socket, volume_id);
    assert.ok(acknowledged.length >= 4);
    for (const block of acknowledged) {
      assert.deepEqual(new Uint8Array(await client.read(block * 4096, 4096)), content(block));
    }
    assert.equal(pauses.length, 2);
    const [first = 0, second = 0] = pauses;
    assert.ok(second > first, `${first} and ${second} ms`);
  },
);
