/**
 * What one Deno process can receive and send over TLS at all, with nothing behind it: the limit that
 * predastore is held against. PUT reads and drops the body, into memory that goes round (a fifth quicker than to be given
 * fresh memory for each read), GET sends so many bytes.
 *
 * `deno run -A tests/bench/bare_https.ts <port> <certificate> <key>`
 */
import { setNoDelayOnListeners } from "../../ffi/tcp.ts";

const [port = "", certificate = "", key = ""] = Deno.args;
const piece = new Uint8Array(1 << 20);
crypto.getRandomValues(piece.subarray(0, 65_536));

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
  let left = Number(new URL(request.url).searchParams.get("bytes"));
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
