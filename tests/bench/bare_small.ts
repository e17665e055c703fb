/**
 * What one Deno process answers over a Unix socket at all, with nothing behind it: 4 KiB to a GET, with as many headers
 * as predastore's answer has, and nothing to a PUT, of which the body is read.
 *
 * `deno run -A tests/bench/bare_small.ts <socket>`
 */
const [path = ""] = Deno.args;
const content = new Uint8Array(4096);
crypto.getRandomValues(content);
const modified = new Date().toUTCString();

Deno.serve({
  path,
  onListen: () => {
    console.log("listening");
  },
}, async (request) => {
  const id = crypto.randomUUID();
  const headers: Record<string, string> = {
    "x-amz-request-id": id,
    "x-amz-id-2": id,
    etag: `"${id}"`,
  };
  if (request.method === "PUT") {
    await request.arrayBuffer();
    return new Response(null, { headers });
  }
  return new Response(content, {
    headers: {
      ...headers,
      "accept-ranges": "bytes",
      "content-type": "binary/octet-stream",
      "content-length": String(content.length),
      "last-modified": modified,
    },
  });
});
