/** A volume that is served for reading only because its disk did not give all of it, when the disk does. */
import assert from "node:assert/strict";
import { until } from "../kit/until.ts";
import { NbdClient } from "./nbd_client.ts";
import { unopened } from "./unopened.ts";
import { type OneRow, startOneRow, volume_id } from "./one_row.ts";

const block = (fill: number) => new Uint8Array(4096).fill(fill);
const logs = ({ volumes }: OneRow) =>
  [...Deno.readDirSync(`${volumes}/${volume_id}`)]
    .map(({ name }) => `${volumes}/${volume_id}/${name}`)
    .filter((path) => path.endsWith(".seg"))
    .sort();

/** Writes a block to the volume, whose next engine finds that its log cannot be opened. */
async function readOnly(world: OneRow, lost: string): Promise<() => Promise<void>> {
  await world.mounts.mount(volume_id);
  {
    await using client = await NbdClient.connect(world.socket, volume_id);
    await client.write(0, block(7), true);
  }
  const mounted = world.mounts.volumes.get(volume_id);
  await mounted?.stop();
  await until("it has ended", () => !world.mounts.volumes.has(volume_id));
  const [first = ""] = logs(world);
  await Deno.rename(first, `${first}.kept`);
  await Deno.symlink(lost, first);
  await world.mounts.mount(volume_id);
  assert.match(world.mounts.damaged.get(volume_id) ?? "", /cannot be (read|opened).*as soon as/);
  assert.ok(world.row.damage);
  return () => Deno.rename(`${first}.kept`, first);
}

Deno.test("it is opened for writing by itself, with all that was acknowledged", async () => {
  await using world = await startOneRow(undefined, undefined, { readAgainMs: [] });
  using terminal = unopened();
  const back = await readOnly(world, terminal.path);
  await back();
  await until(
    "it is served for writing",
    () => world.mounts.count === 1 && world.mounts.damaged.size === 0,
  );
  await until("its row says so", () => world.row.damage === undefined);
  await using client = await NbdClient.connect(world.socket, volume_id);
  assert.deepEqual(new Uint8Array(await client.read(0, 4096)), block(7));
  await client.write(4096, block(8), true);
});

Deno.test("it stays as it is when what comes back is not all that was acknowledged", async () => {
  const said: string[] = [];
  await using world = await startOneRow(undefined, { write: (line) => said.push(line) }, {
    readAgainMs: [],
  });
  using terminal = unopened();
  const back = await readOnly(world, terminal.path);
  const [first = ""] = logs(world);
  const file = await Deno.open(`${first}.kept`, { write: true });
  // The first batch of its epoch, without which nobody knows what the log holds.
  await file.write(block(0x55));
  file.close();
  await back();
  const epoch = world.row.epoch;
  await until("it was tried", () => world.row.epoch > epoch && world.mounts.count === 1);
  assert.ok(world.mounts.damaged.has(volume_id));
  assert.doesNotMatch(world.mounts.damaged.get(volume_id) ?? "", /as soon as/);
  assert.ok(said.some((line) => line.includes("volume_disk_answers")));
});
