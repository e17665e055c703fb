/** Volumes that grow: what is refused, and growth beside snapshots and while there is no room. */
import assert from "node:assert/strict";
import {
  createSnapshot,
  createVolume,
  deleteVolume,
  describeSnapshot,
  describeVolume,
  mountVolume,
  resizeVolume,
  unmountVolume,
} from "../../services/viperblock/contract.ts";
import { untilWorks } from "../kit/until.ts";
import { startBare } from "./bare_engine.ts";
import { qemuIo, refusal, startEngine } from "./engine.ts";
import { NbdClient, NbdFailure } from "./nbd_client.ts";

const mebibyte = 1 << 20;
const tebibyte = 2 ** 40;
const enospc = 28;

Deno.test("a volume grows up to 16 TiB and never shrinks, and a snapshot taken meanwhile has all that was written", async (t) => {
  await using engine = await startEngine();
  const volume_id = "vol-grows";
  const size = async () => (await engine.ask(describeVolume, { volume_id })).size_bytes;
  await engine.ask(createVolume, { volume_id, size_bytes: 16 * mebibyte });
  await engine.ask(mountVolume, { volume_id });

  await t.step("it grows while snapshots are taken of it", async () => {
    for (let round = 1; round <= 5; round++) {
      const size_bytes = (16 + round) * mebibyte;
      const snapshot_id = `snap-grows-${round}`;
      const [, taken] = await Promise.all([
        engine.ask(resizeVolume, { volume_id, size_bytes }),
        engine.ask(createSnapshot, { volume_id, snapshot_id }),
      ]);
      assert.ok([size_bytes, size_bytes - mebibyte].includes(taken.size_bytes));
      await qemuIo(engine.uri(volume_id), `write -P ${round} ${15 + round}M 1M`, "flush");
      assert.equal(await size(), size_bytes);
    }
    const last = { volume_id, snapshot_id: "snap-last" };
    await engine.ask(createSnapshot, last);
    await untilWorks(
      "it is stored",
      async () =>
        (await engine.ask(describeSnapshot, { snapshot_id: last.snapshot_id })).state ===
          "completed",
    );
    const clone = { volume_id: "vol-clone", size_bytes: 21 * mebibyte };
    await engine.ask(createVolume, { ...clone, snapshot_id: last.snapshot_id });
    await engine.ask(mountVolume, clone);
    await qemuIo(
      engine.uri(clone.volume_id),
      ...[1, 2, 3, 4, 5].map((round) => `read -P ${round} ${15 + round}M 1M`),
    );
    await engine.ask(unmountVolume, clone);
    await engine.ask(deleteVolume, clone);
  });

  await t.step("what it cannot become is refused, and changes nothing", async () => {
    for (const size_bytes of [20 * mebibyte, 0, -1, NaN, 16 * tebibyte + 1]) {
      const refused = refusal(engine.ask(resizeVolume, { volume_id, size_bytes }));
      assert.equal(await refused, "InvalidParameterValue", `${size_bytes}`);
    }
    assert.equal(await size(), 21 * mebibyte);
    await qemuIo(engine.uri(volume_id), "read -P 5 20M 1M");
  });

  await t.step(
    "it grows to 16 TiB while its engine ends, and is that large afterwards",
    async () => {
      const size_bytes = 16 * tebibyte;
      await engine.ask(resizeVolume, { volume_id, size_bytes });
      await engine.kill();
      await engine.start();
      assert.equal(await size(), size_bytes);
      const end = size_bytes / mebibyte - 1;
      await qemuIo(engine.uri(volume_id), `write -P 9 ${end}M 1M`, "flush");
      await qemuIo(engine.uri(volume_id), `read -P 9 ${end}M 1M`, "read -P 5 20M 1M");
    },
  );
});

Deno.test("a volume without room for writes grows, and is written to its new end when there is room", async () => {
  const directory = await Deno.makeTempDir({ prefix: "mulga-resize-", dir: "/var/tmp" });
  const socket = `${directory}/nbd`;
  const sizeBytes = 160 * mebibyte;
  await Deno.writeTextFile(`${directory}/objects.down`, "");
  const engine = await startBare({
    directory,
    socket,
    sizeBytes,
    epoch: 1,
    segmentBudget: 4,
    spacePatienceMs: 300,
  });
  const mib = (index: number) => new Uint8Array(mebibyte).fill(1 + index % 255);
  try {
    const client = await NbdClient.connect(socket, "vol-bare");
    let written = 0;
    const isFull = async (at: NbdClient, index: number) => {
      try {
        await at.write(index * mebibyte, mib(index));
        return false;
      } catch (error) {
        assert.ok(error instanceof NbdFailure);
        assert.equal(error.code, enospc);
        return true;
      }
    };
    while (!await isFull(client, written)) written++;
    engine.process.kill("SIGUSR1");
    await client.ended;
    await using again = await NbdClient.connect(socket, "vol-bare");
    assert.equal(again.size, 2 * sizeBytes);
    assert.ok(await isFull(again, 200));
    await again.flush();
    await Deno.remove(`${directory}/objects.down`);
    await untilWorks("there is room", async () => !await isFull(again, 2 * 160 - 1));
    for (let i = 0; i < written; i++) {
      assert.deepEqual(new Uint8Array(await again.read(i * mebibyte, mebibyte)), mib(i));
    }
    assert.deepEqual(new Uint8Array(await again.read(319 * mebibyte, mebibyte)), mib(319));
  } finally {
    await engine.kill();
    await Deno.remove(directory, { recursive: true });
  }
});
