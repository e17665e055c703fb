import assert from "node:assert/strict";
import { until } from "../../tests/kit/until.ts";
import { makeTls } from "../../tests/kit/tls.ts";
import { pathsOf } from "../config/node_config.ts";
import { createLog } from "../log/log.ts";
import { openClaimCode } from "./claim_code.ts";
import { BoxDesk } from "./claim_desk.ts";
import { claimFiles } from "./claim_files.ts";
import { openNodeKey } from "./node_key.ts";
import { Presence } from "./presence.ts";

/** A UDP port that nobody has now. */
function freeUdpPort(): number {
  const socket = Deno.listenDatagram({ transport: "udp", hostname: "127.0.0.1", port: 0 });
  socket.close();
  return (socket.addr as Deno.NetAddr).port;
}

async function start() {
  const tls = await makeTls();
  const root = await Deno.makeTempDir({ prefix: "mulga-presence-" });
  const paths = pathsOf(root);
  await Deno.mkdir(paths.service("cluster"), { recursive: true });
  const files = claimFiles(paths);
  const log = createLog("test", { write: () => {} });
  const code = await openClaimCode(files.code);
  const stopping = new AbortController();
  const presence = await Presence.start({
    log,
    bind: "127.0.0.1",
    ports: { control: 0, gateway: 9999, s3: 9002 },
    announce: { group: "239.77.85.71", port: freeUdpPort() },
    key: await openNodeKey(paths),
    certificate: { cert: tls.cert, key: tls.key, pin: "", fingerprint: "", names: () => true },
    caCertificate: tls.ca,
    desk: await BoxDesk.open(code, log, files, "n-1"),
    files,
    made: false,
    stopping: stopping.signal,
    screenPipe: `${root}/no-screen`,
    node: {
      cluster_id: "",
      node_id: "n-1",
      host: "n-1",
      version: "0.1.0",
      caps: [],
      state: "unclaimed",
    },
  });
  let stopped: Promise<void> | undefined;
  const stop = () => {
    stopping.abort();
    return stopped ??= presence[Symbol.asyncDispose]();
  };
  return {
    presence,
    code,
    tls,
    stop,
    async [Symbol.asyncDispose]() {
      await stop();
      await Deno.remove(root, { recursive: true });
      await tls[Symbol.asyncDispose]();
    },
  };
}

Deno.test("a claim is announced at once, and what is refused moves nothing", async () => {
  await using stand = await start();
  const { presence, code, tls } = stand;
  const client = Deno.createHttpClient({ caCerts: [tls.ca] });
  try {
    const claim = async (given: string) => {
      const reply = await fetch(`https://localhost:${presence.port}/claim`, {
        method: "POST",
        body: new URLSearchParams({ code: given }),
        client,
      } as RequestInit);
      await reply.body?.cancel();
      return reply.status;
    };
    const { announcer } = presence;
    const said = announcer?.sent ?? 0;
    assert.deepEqual([await claim("AAAA-AAAA"), await claim(""), await claim("B".repeat(9_000))], [
      403,
      400,
      413,
    ]);
    assert.ok(announcer !== undefined);
    // One may have been due by the clock meanwhile.
    assert.ok(announcer.sent - said <= 1, `${announcer.sent - said} announcements`);
    const before = announcer.sent;
    assert.equal(await claim(code.text), 200);
    await until("it says so", () => announcer.sent > before);
  } finally {
    client.close();
  }
});

Deno.test("a connection that says nothing does not hold up a stop", async () => {
  await using stand = await start();
  {
    using _silent = await Deno.connect({ hostname: "127.0.0.1", port: stand.presence.port });
    let stopped = false;
    void stand.stop().then(() => stopped = true);
    await until("it has stopped", () => stopped, 30_000);
  }
});
