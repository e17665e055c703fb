/** An HTTP server of a folder that can be told to misbehave. */
import { join } from "node:path";

export interface FileServer extends AsyncDisposable {
  readonly url: URL;
  readonly folder: string;
  /** Ends every answer after so many bytes. */
  cutAfter_bytes: number | undefined;
  /** Answers nothing any more once it has sent so much in all. */
  diesAfter_bytes: number | undefined;
  withoutRanges: boolean;
  /** Answers everything with this status. */
  status: number | undefined;
  /** Seen so far. */
  readonly ranges: number;
  readonly sent_bytes: number;
  /** Of the update's files in the folder. */
  readonly total_bytes: number;
}

export function fileServer(folder: string): FileServer {
  const seen = { ranges: 0, sent_bytes: 0 };
  const answer = async (request: Request): Promise<Response> => {
    const dead = made.diesAfter_bytes !== undefined && seen.sent_bytes >= made.diesAfter_bytes;
    if (dead) return new Response(null, { status: 503 });
    if (made.status !== undefined) return new Response("no", { status: made.status });
    const name = decodeURIComponent(new URL(request.url).pathname.slice(1));
    let bytes: Uint8Array<ArrayBuffer>;
    try {
      bytes = await Deno.readFile(join(folder, name));
    } catch {
      return new Response("not found", { status: 404 });
    }
    const headers = new Headers({ "content-length": String(bytes.length) });
    if (request.method === "HEAD") return new Response(null, { headers });
    const from = made.withoutRanges
      ? undefined
      : /^bytes=(\d+)-$/.exec(request.headers.get("range") ?? "")?.[1];
    if (from !== undefined) {
      seen.ranges++;
      if (Number(from) >= bytes.length) return new Response(null, { status: 416 });
      headers.set("content-range", `bytes ${from}-${bytes.length - 1}/${bytes.length}`);
      bytes = bytes.subarray(Number(from));
      headers.set("content-length", String(bytes.length));
    }
    const cut = made.cutAfter_bytes !== undefined && bytes.length > made.cutAfter_bytes;
    const body = cut ? bytes.subarray(0, made.cutAfter_bytes) : bytes;
    seen.sent_bytes += body.length;
    const stream = new ReadableStream<Uint8Array<ArrayBuffer>>({
      start(controller) {
        controller.enqueue(body);
        if (!cut) controller.close();
      },
      pull(controller) {
        if (cut) controller.error(new Error("cut"));
      },
    });
    return new Response(stream, { status: from === undefined ? 200 : 206, headers });
  };
  const server = Deno.serve({
    hostname: "127.0.0.1",
    port: 0,
    onListen: () => {},
    onError: () => new Response(null, { status: 500 }),
  }, answer);
  let stopped: Promise<void> | undefined;
  const made: FileServer = {
    url: new URL(`http://127.0.0.1:${server.addr.port}/`),
    folder,
    cutAfter_bytes: undefined,
    diesAfter_bytes: undefined,
    withoutRanges: false,
    status: undefined,
    get ranges() {
      return seen.ranges;
    },
    get sent_bytes() {
      return seen.sent_bytes;
    },
    get total_bytes() {
      let total = 0;
      for (const { name } of Deno.readDirSync(folder)) {
        if (/\.(efi|raw\.zst)$/.test(name) && !/64\.raw/.test(name)) {
          total += Deno.statSync(join(folder, name)).size;
        }
      }
      return total;
    },
    [Symbol.asyncDispose]: () => stopped ??= server.shutdown(),
  };
  return made;
}
