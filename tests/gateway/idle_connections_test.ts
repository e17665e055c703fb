/** Connections that are opened and say nothing: they hold up nobody who has something to say. */
import assert from "node:assert/strict";
import { connect } from "node:net";
import { connect as connectTls } from "node:tls";
import { type GatewayProcess, startGatewayProcess } from "../kit/gateway_process.ts";
import { until } from "../kit/until.ts";

const silent = 500;

async function ready(gateway: GatewayProcess) {
  const ca = await Deno.readTextFile(gateway.node.paths.tls.ca);
  const { hostname, port } = new URL(gateway.endpoint);
  return {
    ca,
    to: { hostname, port: Number(port) },
    /** By a connection of its own. */
    ask: async () => {
      using client = Deno.createHttpClient({ caCerts: [ca], poolMaxIdlePerHost: 0 });
      const answer = await fetch(`${gateway.endpoint}/health`, { client });
      await answer.body?.cancel();
      return answer.status;
    },
    descriptors: () => [...Deno.readDirSync(`/proc/${gateway.pid}/fd`)].length,
  };
}

Deno.test("a thousand idle connections, half of them without a handshake, hold up nobody and end nothing", async () => {
  await using gateway = await startGatewayProcess();
  const { ca, to, ask, descriptors } = await ready(gateway);
  const atFirst = descriptors();
  const open: Deno.Conn[] = [];
  try {
    for (let n = 0; n < silent; n++) open.push(await Deno.connect(to));
    for (let n = 0; n < silent; n++) {
      const connection = await Deno.connectTls({ ...to, caCerts: [ca] });
      open.push(connection);
      await connection.handshake();
    }
    await until("the gateway has all of them", () => descriptors() >= atFirst + 2 * silent);
    const answers = await Promise.all(Array.from({ length: 50 }, ask));
    assert.deepEqual([...new Set(answers)], [200]);
    assert.equal((await gateway.health()).status, "ok");
  } finally {
    for (const connection of open) connection.close();
  }
  await until("what they held is free again", () => descriptors() < atFirst + silent);
  assert.equal(await ask(), 200);
  assert.equal(await gateway.stop(), 0);
  assert.doesNotMatch(gateway.log(), /"level":"error"/);
});

Deno.test("three times as many idle connections as it may have descriptors end the silent ones, and neither the process nor who is answered", async () => {
  await using gateway = await startGatewayProcess([], { descriptors: 1_024 });
  const { ca, to, ask, descriptors } = await ready(gateway);
  const atFirst = descriptors();
  // A form that comes by and by, for as long as the others are there.
  const told = Promise.withResolvers<ReadableStreamDefaultController<Uint8Array>>();
  const body = new ReadableStream<Uint8Array>({ start: (controller) => told.resolve(controller) });
  using client = Deno.createHttpClient({ caCerts: [ca] });
  let answered = false;
  const answer = fetch(`${gateway.endpoint}/console/sign-in`, {
    method: "POST",
    headers: { "content-type": "application/x-www-form-urlencoded" },
    body,
    client,
  }).finally(() => answered = true);
  const slow = await told.promise;
  const open = new Set<Deno.Conn>();
  let refused = 0;
  try {
    for (let n = 0; n < 3_000; n++) {
      if (n % 50 === 0 && !answered) slow.enqueue(new TextEncoder().encode("x"));
      try {
        const connection = n % 3 === 0
          ? await Deno.connectTls({ ...to, caCerts: [ca] })
          : await Deno.connect(to);
        open.add(connection);
        if (n % 3 === 0) await (connection as Deno.TlsConn).handshake();
      } catch {
        refused++;
      }
      if (n % 500 === 0) assert.equal(await ask(), 200, `beside ${n}`);
    }
    if (!answered) slow.close();
    // There is no console; a body that took too long is told so.
    const reply = await answer;
    assert.match(await reply.text(), /^(ServiceUnavailable|RequestTimeout): /);
    assert.equal(await ask(), 200);
    assert.ok(descriptors() < 1_024);
    const { facts } = await gateway.health();
    assert.ok(Number(facts["connections_ended"]) >= 3_000 - refused - 1_024);
  } finally {
    for (const connection of open) connection.close();
  }
  await until("what they held is free again", () => descriptors() < atFirst + 50);
  assert.equal(await ask(), 200);
  assert.equal(await gateway.stop(), 0);
  assert.doesNotMatch(gateway.log(), /"level":"error"/);
});

Deno.test("who opens as many connections as he can from one address ends none of another's, however idle", async () => {
  await using gateway = await startGatewayProcess([], { descriptors: 512 });
  const { ca, to } = await ready(gateway);
  const opened = Promise.withResolvers<void>();
  const socket = connect({ host: to.hostname, port: to.port, localAddress: "127.0.0.2" });
  const other = connectTls({ socket, host: to.hostname, ca }, opened.resolve);
  other.on("error", opened.reject);
  let ended = false;
  other.on("close", () => ended = true);
  await opened.promise;
  assert.equal(socket.localAddress, "127.0.0.2");
  const flood: Deno.Conn[] = [];
  try {
    await until("enough were ended", async () => {
      for (let n = 0; n < 100; n++) {
        await Deno.connect(to).then((connection) => flood.push(connection), () => {});
      }
      return Number((await gateway.health()).facts["connections_ended"]) > 500;
    });
    assert.equal(ended, false);
    const answer = Promise.withResolvers<string>();
    other.on("data", (bytes) => answer.resolve(String(bytes)));
    other.on("close", () => answer.resolve(""));
    other.write(`GET /health HTTP/1.1\r\nHost: ${to.hostname}:${to.port}\r\n\r\n`);
    assert.match(await answer.promise, /^HTTP\/1.1 200 /);
  } finally {
    for (const connection of flood) connection.close();
    other.destroy();
  }
});
