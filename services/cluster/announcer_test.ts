import assert from "node:assert/strict";
import { until } from "../../tests/kit/until.ts";
import { createLog } from "../log/log.ts";
import { pathsOf } from "../config/node_config.ts";
import { Announcer } from "./announcer.ts";
import { encodeAnnouncement } from "./announcement.ts";
import { openNodeKey } from "./node_key.ts";

const group = "239.77.85.71";
/** Longer than any test: what is heard was said at the start or as an answer. */
const neverUnasked_ms = 3_600_000;

/** A UDP port that nobody has now. */
function freeUdpPort(): number {
  const socket = Deno.listenDatagram({ transport: "udp", hostname: "127.0.0.1", port: 0 });
  socket.close();
  return (socket.addr as Deno.NetAddr).port;
}

async function network() {
  const directory = await Deno.makeTempDir({ prefix: "mulga-announcer-" });
  const port = freeUdpPort();
  const open: Announcer[] = [];
  const strangers: Deno.DatagramConn[] = [];
  const keyOf = async (name: string) => {
    const paths = pathsOf(`${directory}/${name}`);
    await Deno.mkdir(paths.service("cluster"), { recursive: true });
    return await openNodeKey(paths);
  };
  const words = (node_id: string) => ({
    cluster_id: "c-1",
    node_id,
    host: node_id,
    version: "0.1.0",
    caps: [],
    state: "alone" as const,
    addr: "127.0.0.1:8443",
  });
  return {
    port,
    keyOf,
    words,
    async node(node_id: string, key = node_id) {
      const events: { event: string; node_id?: string }[] = [];
      const announcer = new Announcer({
        group,
        port,
        key: await keyOf(key),
        interval_ms: neverUnasked_ms,
        log: createLog("test", { write: (line) => events.push(JSON.parse(line)) }),
        addresses: () => ["127.0.0.1"],
        describe: () => words(node_id),
      });
      open.push(announcer);
      await announcer.announce();
      return { announcer, events };
    },
    /** A socket of somebody who is no node. */
    stranger() {
      const socket = Deno.listenDatagram({ transport: "udp", hostname: "127.0.0.1", port: 0 });
      strangers.push(socket);
      return socket;
    },
    async [Symbol.asyncDispose]() {
      for (const socket of strangers) socket.close();
      for (const announcer of open) announcer[Symbol.dispose]();
      await Deno.remove(directory, { recursive: true });
    },
  };
}

Deno.test("two nodes know each other as soon as the second speaks, without waiting for a turn", async () => {
  await using net = await network();
  const one = await net.node("n-1");
  const two = await net.node("n-2");
  await until(
    "both heard",
    () => one.announcer.peers.size === 1 && two.announcer.peers.size === 1 ? true : undefined,
  );
  assert.deepEqual(
    one.events.filter(({ event }) => event === "peer_heard").map(({ node_id }) => node_id),
    ["n-2"],
  );
});

Deno.test("what is no announcement is counted by its reason, and hearing goes on", async () => {
  await using net = await network();
  const one = await net.node("n-1");
  const socket = net.stranger();
  const throwIn = (datagram: Uint8Array) =>
    socket.send(datagram, { transport: "udp", hostname: group, port: net.port });
  const key = await net.keyOf("n-2");
  const good = await encodeAnnouncement({ ...net.words("n-2"), ts: 100 }, key);
  const bent = good.slice();
  bent[20] = (bent[20] ?? 0) ^ 1;
  const older = await encodeAnnouncement({ ...net.words("n-2"), ts: 99 }, key);
  const pretender = await encodeAnnouncement(
    { ...net.words("n-2"), ts: 200 },
    await net.keyOf("n-3"),
  );
  const thrown = [
    new Uint8Array(3_000),
    new Uint8Array(100),
    good,
    bent,
    older,
    pretender,
    pretender,
  ];
  // One after the other: signatures are verified at the same time and may end in another order.
  for (const [at, datagram] of thrown.entries()) {
    await throwIn(datagram);
    await until("it to be counted", () => {
      const { droppedTotal, peers } = one.announcer;
      return droppedTotal + peers.size === at + 1 ? true : undefined;
    });
  }
  const { bad_signature = 0, malformed = 0, ...counted } = one.announcer.dropped;
  assert.deepEqual(counted, { too_large: 1, replayed: 1, other_key: 2 });
  assert.equal(bad_signature + malformed, 2);
  assert.equal(one.events.filter(({ event }) => event === "peer_identity_changed").length, 1);
  assert.deepEqual(one.announcer.peers.list().map(({ node_id }) => node_id), ["n-2"]);
});

Deno.test("a flood from one address is cut off before its signatures are looked at", async () => {
  await using net = await network();
  const one = await net.node("n-1");
  const socket = net.stranger();
  for (let at = 0; at < 500; at++) {
    await socket.send(new Uint8Array(50), {
      transport: "udp",
      hostname: group,
      port: net.port,
    });
  }
  await until("most were cut off", () => {
    const { too_many = 0 } = one.announcer.dropped;
    return too_many > 200 ? true : undefined;
  });
  assert.ok((one.announcer.dropped.malformed ?? 0) < 150);
});
