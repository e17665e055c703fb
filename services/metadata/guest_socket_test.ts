import assert from "node:assert/strict";
import { join } from "node:path";
import { until } from "../../tests/kit/until.ts";
import { GuestSocket, mostConnections } from "./guest_socket.ts";

async function start() {
  const directory = await Deno.makeTempDir({ prefix: "mulga-imds-" });
  const path = join(directory, "guest");
  const inner = join(directory, "server");
  const server = Deno.serve(
    { path: inner, onListen() {} },
    (request) => new Response(`${request.method} ${new URL(request.url).pathname}`),
  );
  const socket = await GuestSocket.listen(path, inner);
  /** As QEMU starts it for each connection of the guest, but that none ends by itself for its silence. */
  const connect = () =>
    new Deno.Command("socat", {
      args: ["-t", "10", "-T", "3600", "-", `UNIX-CONNECT:${path}`],
      stdin: "piped",
      stdout: "piped",
      stderr: "null",
    }).spawn();
  return {
    connect,
    async [Symbol.asyncDispose]() {
      await socket[Symbol.asyncDispose]();
      await server.shutdown();
      await Deno.remove(directory, { recursive: true });
    },
  };
}

type Program = ReturnType<Awaited<ReturnType<typeof start>>["connect"]>;

const request = new TextEncoder().encode("GET /latest HTTP/1.1\r\nhost: x\r\n\r\n");

/** Asks, and reads until the answer is whole. */
async function ask(program: Program): Promise<string> {
  const writer = program.stdin.getWriter();
  // One that was refused has gone.
  await writer.write(request).catch(() => {});
  writer.releaseLock();
  const reader = program.stdout.getReader();
  let text = "";
  while (!text.endsWith("GET /latest")) {
    const { value, done } = await reader.read();
    if (done) break;
    text += new TextDecoder().decode(value);
  }
  reader.releaseLock();
  return text;
}

Deno.test("a guest that opens connections without end has no more programs than it may, and who asks is answered", async () => {
  await using guest = await start();
  const programs: Program[] = [];
  let running = 0;
  const connect = () => {
    const program = guest.connect();
    programs.push(program);
    running++;
    void program.status.then(() => running--);
    return program;
  };
  try {
    const asking = connect();
    for (let n = 0; n < 2 * mostConnections; n++) {
      connect();
      // On its connection something moves, so it is none of those that go.
      if (n % 16 === 0) assert.match(await ask(asking), /^HTTP\/1\.1 200 /);
    }
    await until("the programs beyond the bound have ended", () => running <= mostConnections);
    assert.match(await ask(asking), /^HTTP\/1\.1 200 /);
    // As soon as one has gone there is room for another.
    await programs[1]?.stdin.close();
    await until("a new one is answered", async () => /^HTTP\/1\.1 200 /.test(await ask(connect())));
    assert.ok(running <= mostConnections);
  } finally {
    for (const program of programs) {
      await program.stdin.close().catch(() => {});
      await program.stdout.cancel();
      await program.status;
    }
  }
});

Deno.test("a guest that half-closes still gets its answer", async () => {
  await using guest = await start();
  const program = guest.connect();
  const writer = program.stdin.getWriter();
  await writer.write(request);
  await writer.close();
  const text = await new Response(program.stdout).text();
  assert.match(text, /^HTTP\/1\.1 200 [^]*GET \/latest$/);
  assert.equal((await program.status).code, 0);
});
