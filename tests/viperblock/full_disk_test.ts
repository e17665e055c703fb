/** No room for the log, or no store to drain it to: writes wait, fail by name, and go on by themselves. */
import assert from "node:assert/strict";
import { fileSystemSpace } from "../../ffi/libc.ts";
import { type BareEngine, startBare } from "./bare_engine.ts";
import { NbdClient, NbdFailure } from "./nbd_client.ts";

const enospc = 28;
const mebibyte = 1 << 20;

/** Writes distinct MiB after MiB until one fails; answers how many were acknowledged. */
async function fill(client: NbdClient, from: number, to: number): Promise<number> {
  for (let i = from; i < to; i++) {
    try {
      await client.write(i * mebibyte, new Uint8Array(mebibyte).fill(1 + i % 255));
    } catch (error) {
      assert.ok(error instanceof NbdFailure);
      assert.equal(error.code, enospc);
      return i;
    }
  }
  return to;
}

async function check(client: NbdClient, count: number): Promise<void> {
  for (let i = 0; i < count; i++) {
    const data = await client.read(i * mebibyte, mebibyte);
    assert.ok(data.every((byte) => byte === 1 + i % 255), `MiB ${i} is not what was acknowledged`);
  }
}

Deno.test("with no store to drain to, writes wait, fail with ENOSPC, lose nothing, and go on when it is back", async () => {
  const directory = await Deno.makeTempDir({ prefix: "mulga-full-", dir: "/var/tmp" });
  const socket = `${directory}/nbd`;
  const options = {
    directory,
    socket,
    sizeBytes: 160 * mebibyte,
    segmentBudget: 4,
    spacePatienceMs: 300,
  };
  await Deno.writeTextFile(`${directory}/objects.down`, "");
  let engine: BareEngine | undefined;
  try {
    engine = await startBare({ ...options, epoch: 1 });
    let client = await NbdClient.connect(socket, "vol-bare");
    const written = await fill(client, 0, 160);
    assert.ok(written >= 90 && written < 128, `${written} MiB fit into a log of 128`);
    await client.flush();
    await check(client, written);
    await client[Symbol.asyncDispose]();
    await engine.kill();
    engine = await startBare({ ...options, epoch: 2 });
    client = await NbdClient.connect(socket, "vol-bare");
    await check(client, written);
    await Deno.remove(`${directory}/objects.down`);
    const limit = performance.now() + 120_000;
    let reached = written;
    while (reached < 160 && performance.now() < limit) reached = await fill(client, reached, 160);
    assert.equal(reached, 160, "writes go on by themselves when the store is back");
    await check(client, 160);
    await client[Symbol.asyncDispose]();
  } finally {
    await engine?.kill();
    await Deno.remove(directory, { recursive: true });
  }
});

Deno.test("a log never grows into the node's reserve", async () => {
  const directory = await Deno.makeTempDir({ prefix: "mulga-reserve-", dir: "/var/tmp" });
  const socket = `${directory}/nbd`;
  let engine: BareEngine | undefined;
  try {
    await Deno.writeTextFile(`${directory}/objects.down`, "");
    // Room for about three files above the reserve, whatever the budget says.
    const before = fileSystemSpace(directory).available_bytes;
    const reserveBytes = before - 110 * mebibyte;
    engine = await startBare({
      directory,
      socket,
      sizeBytes: 512 * mebibyte,
      epoch: 1,
      segmentBudget: 32,
      reserveBytes,
      spacePatienceMs: 300,
    });
    await using client = await NbdClient.connect(socket, "vol-bare");
    const written = await fill(client, 0, 512);
    // The disk is not this test's alone: what others gave back of it may be taken, too.
    const { available_bytes } = fileSystemSpace(directory);
    const given = Math.max(0, available_bytes + written * mebibyte - before) / mebibyte;
    assert.ok(
      written < 200 + given,
      `${written} MiB were taken with 110 MiB above the reserve, and ${given} MiB from others`,
    );
    await check(client, written);
  } finally {
    await engine?.kill();
    await Deno.remove(directory, { recursive: true });
  }
});
