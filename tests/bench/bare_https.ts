/**
 * What one Deno process can receive and send over TLS at all, with nothing behind it: the limit that
 * predastore is held against. PUT reads and drops the body, into memory that goes round (a fifth quicker than to be given
 * fresh memory for each read), GET sends so many bytes. PUT with `?md5` gathers the body and has another thread hash it
 * meanwhile: S3's ETag is the MD5 of a body, so no store that gives it is faster than that.
 *
 * `deno run -A tests/bench/bare_https.ts <port> <certificate> <key>`
 */
import { Digest } from "../../ffi/libcrypto.ts";
import { setNoDelayOnListeners } from "../../ffi/tcp.ts";

const [port = "", certificate = "", key = ""] = Deno.args;
const piece = new Uint8Array(1 << 20);
crypto.getRandomValues(piece.subarray(0, 65_536));

/** Reads a body in runs of a MiB, of which the third is filled while the two before it are hashed. */
async function hashed(body: ReadableStream<Uint8Array> | null): Promise<string> {
  using digest = new Digest("md5");
  const reader = body?.getReader({ mode: "byob" });
  const runs = Array.from(
    { length: 3 },
    () => ({ memory: new ArrayBuffer(1 << 20), read: Promise.resolve() }),
  );
  for (let at = 0, ended = reader === undefined; !ended; at = (at + 1) % runs.length) {
    const run = runs[at] as typeof runs[0];
    await run.read;
    let filled = 0;
    while (reader !== undefined && filled < run.memory.byteLength) {
      const { value, done } = await reader.read(new Uint8Array(run.memory, filled));
      if (value === undefined) throw new Error("the client went");
      run.memory = value.buffer;
      filled += value.length;
      ended = done;
      if (ended) break;
    }
    if (filled > 0) run.read = digest.update(new Uint8Array(run.memory, 0, filled));
  }
  return (await digest.finish()).toHex();
}

Deno.serve({
  port: Number(port),
  hostname: "127.0.0.1",
  cert: await Deno.readTextFile(certificate),
  key: await Deno.readTextFile(key),
  onListen: () => {
    setNoDelayOnListeners();
    console.log("listening");
  },
}, async (request) => {
  const asked = new URL(request.url).searchParams;
  if (request.method === "PUT" && asked.has("md5")) return new Response(await hashed(request.body));
  if (request.method === "PUT") {
    const reader = request.body?.getReader({ mode: "byob" });
    let memory = new ArrayBuffer(256 << 10);
    let bytes = 0;
    while (reader !== undefined) {
      const { value, done } = await reader.read(new Uint8Array(memory));
      if (value === undefined || done) break;
      bytes += value.length;
      memory = value.buffer;
    }
    return new Response(String(bytes));
  }
  let left = Number(asked.get("bytes"));
  const length = left;
  const body = new ReadableStream<Uint8Array>({
    pull(controller) {
      if (left === 0) return controller.close();
      const part = left >= piece.length ? piece : piece.subarray(0, left);
      left -= part.length;
      controller.enqueue(part);
    },
  }, { highWaterMark: 0 });
  return new Response(body, { headers: { "content-length": String(length) } });
});
