/** Connections that are opened and say nothing: they hold up nobody who has something to say. */
import assert from "node:assert/strict";
import { startGatewayProcess } from "../kit/gateway_process.ts";
import { until } from "../kit/until.ts";

const silent = 500;

Deno.test("a thousand idle connections, half of them without a handshake, hold up nobody and end nothing", async () => {
  await using gateway = await startGatewayProcess();
  const ca = await Deno.readTextFile(gateway.node.paths.tls.ca);
  const { hostname, port } = new URL(gateway.endpoint);
  const to = { hostname, port: Number(port) };
  /** By a connection of its own. */
  const ask = async () => {
    using client = Deno.createHttpClient({ caCerts: [ca], poolMaxIdlePerHost: 0 });
    const answer = await fetch(`${gateway.endpoint}/health`, { client });
    await answer.body?.cancel();
    return answer.status;
  };
  const descriptors = () => [...Deno.readDirSync(`/proc/${gateway.pid}/fd`)].length;
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
