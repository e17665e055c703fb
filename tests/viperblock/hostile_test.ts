/** Clients that lie, hang, flood and vanish: they lose their connection, and nobody else notices. */
import assert from "node:assert/strict";
import { type BareEngine, startBare } from "./bare_engine.ts";
import { NbdClient, NbdFailure, readExactly, writeAll } from "./nbd_client.ts";
import { seeded } from "../kit/random.ts";

const size = 16 << 20;

async function withEngine(work: (socket: string) => Promise<void>): Promise<void> {
  const directory = await Deno.makeTempDir({ prefix: "mulga-hostile-", dir: "/var/tmp" });
  const socket = `${directory}/nbd`;
  let engine: BareEngine | undefined;
  try {
    engine = await startBare({ directory, socket, sizeBytes: size, epoch: 1 });
    await work(socket);
  } finally {
    await engine?.kill();
    await Deno.remove(directory, { recursive: true });
  }
}

async function code(call: Promise<unknown>): Promise<number> {
  try {
    await call;
    return -1;
  } catch (error) {
    if (error instanceof NbdFailure) return error.code;
    throw error;
  }
}

const einval = 22;
const enospc = 28;

Deno.test("requests out of range or of unknown kinds are refused, and the connection goes on", async () => {
  await withEngine(async (socket) => {
    await using client = await NbdClient.connect(socket, "vol-bare");
    assert.equal(await code(client.read(size, 1)), einval);
    assert.equal(await code(client.read(size - 4096, 8192)), einval);
    assert.equal(await code(client.read(0, 0)), einval);
    assert.equal(await code(client.request(0, 2 ** 53, 4096)), einval);
    assert.equal(await code(client.write(size - 4096, new Uint8Array(8192))), enospc);
    assert.equal(await code(client.zero(size, 4096)), enospc);
    assert.equal(await code(client.trim(size - 1, 2)), einval);
    assert.equal(await code(client.request(7, 0, 4096)), einval);
    assert.equal(await code(client.request(3, 0, 1)), einval);
    assert.equal(await code(client.request(1, 0, 4096, new Uint8Array(4096), 0x8000)), einval);
    assert.equal(await code(client.read(0, (32 << 20) - 1)), einval);
    await client.write(0, new Uint8Array(4096).fill(7));
    assert.equal((await client.read(0, 4096))[4095], 7);
  });
});

Deno.test("a client that breaks the protocol loses its connection, and others go on", async () => {
  await withEngine(async (socket) => {
    await using witness = await NbdClient.connect(socket, "vol-bare");
    await witness.write(0, new Uint8Array(4096).fill(9));
    const breaks: ((client: NbdClient) => Promise<unknown>)[] = [
      // A payload longer than anything allowed.
      (client) => code(client.request(1, 0, 0x7fff_ffff)),
      (client) => writeAll(client.raw, new Uint8Array(64).fill(0x41)),
      // Half a request, half a payload, then gone.
      (client) => writeAll(client.raw, new Uint8Array([0x25, 0x60, 0x95])),
      (client) => {
        void code(client.request(1, 1 << 20, 1 << 20, new Uint8Array(100_000)));
        return Promise.resolve();
      },
    ];
    for (const breakIt of breaks) {
      const client = await NbdClient.connect(socket, "vol-bare");
      await breakIt(client);
      await client[Symbol.asyncDispose]();
      assert.equal((await witness.read(0, 4096))[0], 9);
    }
    await assert.rejects(NbdClient.connect(socket, "vol-other"));
  });
});

Deno.test("clients that say nothing or read nothing do not keep others out", async () => {
  await withEngine(async (socket) => {
    const silent: Deno.Conn[] = [];
    for (let i = 0; i < 40; i++) {
      silent.push(await Deno.connect({ transport: "unix", path: socket }));
    }
    // Asks for more than any buffer holds and never reads an answer.
    const deaf = await NbdClient.connect(socket, "vol-bare").catch(() => undefined);
    let client: NbdClient | undefined;
    const limit = performance.now() + 60_000;
    while (client === undefined && performance.now() < limit) {
      client = await NbdClient.connect(socket, "vol-bare").catch(() => undefined);
    }
    assert.ok(client !== undefined, "a client got in although forty said nothing");
    await client.write(4096, new Uint8Array(4096).fill(1));
    assert.equal((await client.read(4096, 1))[0], 1);
    await client[Symbol.asyncDispose]();
    await deaf?.[Symbol.asyncDispose]();
    for (const connection of silent) connection.close();
  });
});

Deno.test("random bytes at any stage end at most the connection that sent them", async () => {
  await seeded(async (random) => {
    await withEngine(async (socket) => {
      await using witness = await NbdClient.connect(socket, "vol-bare");
      for (let i = 0; i < 60; i++) {
        const connection = await Deno.connect({ transport: "unix", path: socket });
        try {
          await readExactly(connection, 18);
          const bytes = new Uint8Array(4 + random.below(2000));
          for (let at = 0; at < bytes.length; at++) bytes[at] = random.below(256);
          if (random.below(2) === 0) {
            // A proper way in, and then anything that looks like requests.
            const view = new DataView(bytes.buffer);
            bytes.fill(0, 0, Math.min(20, bytes.length));
            if (bytes.length > 80) {
              view.setUint32(0, 3);
              view.setBigUint64(4, 0x49484156454f5054n);
              view.setUint32(12, 1);
              for (let at = 20; at + 28 <= bytes.length; at += 28) {
                view.setUint32(at, 0x25609513);
                view.setUint16(at + 6, random.below(8));
                view.setBigUint64(at + 16, BigInt(random.below(2 * size)));
                view.setUint32(at + 24, random.below(100_000));
              }
            }
          }
          await writeAll(connection, bytes);
        } catch {
          // The engine may hang up while the bytes are on their way; that is its right.
        }
        connection.close();
      }
      await witness.write(0, new Uint8Array(4096).fill(3));
      assert.equal((await witness.read(0, 1))[0], 3);
    });
  });
});
