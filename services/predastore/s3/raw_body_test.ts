/** What a client sends is what is read, whatever its length and however it comes. */
import assert from "node:assert/strict";
import { AwsError } from "../../aws/errors.ts";
import { bytesOf } from "../test_store.ts";
import type { BodyWatch } from "./call.ts";
import { rawBody } from "./raw_body.ts";

type Bytes = Uint8Array<ArrayBuffer>;

const patient: BodyWatch = { begin: () => ({ progress: () => {}, end: () => {} }) };

/** Serves bodies that are read by `rawBody`; each one's bytes, or the code of its error, in turn. */
function serve(watch: BodyWatch = patient) {
  const read: (Bytes | string)[] = [];
  const began = Promise.withResolvers<void>();
  let next = Promise.withResolvers<void>();
  const server = Deno.serve(
    { port: 0, hostname: "127.0.0.1", onListen: () => {} },
    async (request) => {
      const parts: Uint8Array[] = [];
      began.resolve();
      try {
        // A piece is valid until the next is asked for.
        for await (const piece of rawBody({ request, watch })) parts.push(piece.slice());
        read.push(new Uint8Array(Buffer.concat(parts)));
      } catch (error) {
        read.push(error instanceof AwsError ? error.code : String(error));
      }
      next.resolve();
      return new Response();
    },
  );
  return {
    port: server.addr.port,
    url: `http://127.0.0.1:${server.addr.port}/`,
    began: began.promise,
    async read(): Promise<Bytes | string | undefined> {
      await next.promise;
      next = Promise.withResolvers();
      return read.shift();
    },
    [Symbol.asyncDispose]: () => server.shutdown(),
  };
}

Deno.test("bodies of every length arrive whole, with a length and without one", async () => {
  await using server = serve();
  const piece = 256 * 1024;
  for (const size of [0, 1, 16_384, 16_385, 100_000, piece, piece + 1, 3 * piece, 5_000_077]) {
    const bytes = bytesOf(size, size);
    const { body } = await fetch(server.url, { method: "PUT", body: bytes });
    await body?.cancel();
    assert.deepEqual(await server.read(), bytes, `${size} bytes`);
    const unsized = await fetch(server.url, { method: "PUT", body: new Blob([bytes]).stream() });
    await unsized.body?.cancel();
    assert.deepEqual(await server.read(), bytes, `${size} bytes of unknown length`);
  }
});

/** Sends the beginning of a long body. */
async function begin(port: number): Promise<Deno.TcpConn> {
  const connection = await Deno.connect({ port, hostname: "127.0.0.1" });
  const head = "PUT / HTTP/1.1\r\nhost: x\r\ncontent-length: 1000000\r\n\r\n";
  await connection.write(new TextEncoder().encode(head));
  await connection.write(new Uint8Array(30_000));
  return connection;
}

Deno.test("a body whose client goes is incomplete", async () => {
  await using server = serve();
  const connection = await begin(server.port);
  await server.began;
  connection.close();
  assert.equal(await server.read(), "IncompleteBody");
});

Deno.test("a body that has stopped is cut off", async () => {
  const moved = Promise.withResolvers<() => void>();
  let stop = () => {};
  await using server = serve({
    begin: (cut) => {
      stop = cut;
      return { progress: () => moved.resolve(stop), end: () => {} };
    },
  });
  using _connection = await begin(server.port);
  (await moved.promise)();
  assert.equal(await server.read(), "RequestTimeout");
});
