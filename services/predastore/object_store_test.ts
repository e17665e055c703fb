/** What the client of the system door does when the server is there and does not answer. */
import assert from "node:assert/strict";
import { ObjectStore, ObjectStoreError } from "./object_store.ts";

type Serve = (connection: Deno.UnixConn, number: number) => Promise<void>;

const text = (of: string) => new TextEncoder().encode(of);
const ok = (body: string) =>
  text(`HTTP/1.1 200 OK\r\ncontent-length: ${body.length}\r\n\r\n${body}`);

/** Reads until a request without a body, or the connection, ends. */
async function request(connection: Deno.UnixConn): Promise<void> {
  const buffer = new Uint8Array(4096);
  for (let heard = ""; !heard.endsWith("\r\n\r\n");) {
    const count = await connection.read(buffer);
    if (count === null) throw new Error("the client has gone");
    heard += new TextDecoder().decode(buffer.subarray(0, count));
  }
}

/** A server that does what it is told with each connection, and a client whose patience is short. */
async function serving(serve: Serve, stall_ms = 200) {
  const directory = await Deno.makeTempDir({ prefix: "mulga-client-" });
  const path = `${directory}/door`;
  const listener = Deno.listen({ transport: "unix", path });
  const connections: Deno.UnixConn[] = [];
  const serves: Promise<void>[] = [];
  const accepting = (async () => {
    for await (const connection of listener) {
      serves.push(serve(connection, connections.push(connection)).catch(() => {}));
    }
  })();
  const store = new ObjectStore(path, "blocks", { stall_ms });
  return {
    store,
    connections,
    async [Symbol.asyncDispose]() {
      store[Symbol.dispose]();
      listener.close();
      await accepting;
      for (const connection of connections) {
        try {
          connection.close();
        } catch {
          // Its server has.
        }
      }
      await Promise.all(serves);
      await Deno.remove(directory, { recursive: true });
    },
  };
}

const stalled = (error: unknown) => error instanceof ObjectStoreError && error.status === 503;
/** Until the client has gone. */
const silence: Serve = async (connection) => {
  const buffer = new Uint8Array(4096);
  while (await connection.read(buffer) !== null);
};

Deno.test("a server that accepts and says nothing holds nobody for ever", async () => {
  await using world = await serving(silence);
  const { store } = world;
  await assert.rejects(store.get("maps/vol-1/00000001/000000"), stalled);
  await assert.rejects(store.put("chunks/vol-1/a", new Uint8Array(100)), stalled);
  await assert.rejects(store.delete("chunks/vol-1/a"), stalled);
  await assert.rejects(Array.fromAsync(store.list("chunks/")), stalled);
});

Deno.test("nor does one that takes no more of an object, or stops in the middle of one", async () => {
  const never = Promise.withResolvers<void>();
  await using world = await serving(async (connection, number) => {
    // The first connection is not read from at all.
    if (number === 1) return await never.promise;
    await request(connection);
    await connection.write(text("HTTP/1.1 200 OK\r\ncontent-length: 100\r\n\r\nhalf"));
    await silence(connection, number);
  });
  const { store } = world;
  await assert.rejects(store.put("chunks/vol-1/a", new Uint8Array(8 << 20)), stalled);
  await assert.rejects(store.get("chunks/vol-1/a"), stalled);
  never.resolve();
});

Deno.test("a connection that was kept and stands still is not replaced without a word: all would be waited for twice", async () => {
  await using world = await serving(async (connection, number) => {
    await request(connection);
    await connection.write(ok("first"));
    await silence(connection, number);
  });
  const { store, connections } = world;
  assert.deepEqual(await store.get("a"), text("first"));
  await assert.rejects(store.get("a"), stalled);
  assert.equal(connections.length, 1);
});

Deno.test("what goes on, however slowly, is waited for", async () => {
  const stall_ms = 1000;
  const body = "slowly";
  await using world = await serving(async (connection) => {
    await request(connection);
    for (const byte of ok(body)) {
      await new Promise((resolve) => setTimeout(resolve, stall_ms / 20));
      await connection.write(new Uint8Array([byte]));
    }
  }, stall_ms);
  assert.deepEqual(await world.store.get("a"), text(body));
});
