/** The console as a browser meets it: through the gateway's HTTPS, with every process and right real. */
import assert from "node:assert/strict";
import { loginLink } from "../../services/console/contract.ts";
import { consolePage } from "../../services/gateway/contract.ts";
import { startNode } from "../kit/node.ts";
import { untilWorks } from "../kit/until.ts";

Deno.test("the operator's link signs a browser in through the gateway, and out again", async () => {
  await using node = await startNode();
  const started = performance.now();
  const processes = [];
  for (const name of ["identity", "gateway", "console"] as const) {
    const process = await node.start(name);
    await process.healthy();
    processes.push(process);
  }
  console.log(`three services ready after ${Math.round(performance.now() - started)} ms`);
  const caCert = await Deno.readTextFile(node.paths.tls.ca);
  using client = Deno.createHttpClient({ caCerts: [caCert] });
  const get = (target: string, init: RequestInit = {}) =>
    fetch(new URL(target, node.endpoint), { client, redirect: "manual", ...init });

  const outside = await get("/console", { headers: { accept: "text/html" } });
  assert.equal(outside.status, 403);
  const words = await outside.text();
  assert.match(words, /hive console-link/);
  assert.equal(words.includes(node.config.node_id), false);
  assert.equal(await (await get("/console/ca.crt")).text(), caCert);

  const operator = await node.bus("operator");
  const { url, expires_at } = await operator.ask(loginLink, null);
  assert.ok(url.startsWith(`${node.endpoint}/console/login?token=`), url);
  const minutes = (Date.parse(expires_at) - Date.now()) / 60_000;
  assert.ok(minutes > 4 && minutes <= 5);

  const signedIn = await get(url);
  await signedIn.body?.cancel();
  assert.equal(signedIn.status, 303);
  const cookie = signedIn.headers.get("set-cookie")?.split(";")[0] ?? "";
  const again = await get(url);
  await again.body?.cancel();
  assert.equal(again.status, 403, "a link works once");

  // A service on a busy machine may be slow to say that it is well.
  const body = await untilWorks("the page to show what runs", async () => {
    const page = await get(signedIn.headers.get("location") ?? "", { headers: { cookie } });
    const text = await page.text();
    assert.equal(page.status, 200);
    assert.match(page.headers.get("content-security-policy") ?? "", /default-src 'none'/);
    for (const name of ["nats", "identity", "gateway", "console"]) {
      const row = text.slice(text.indexOf(`<div>${name}<`)).split("</tr>")[0] ?? "";
      assert.match(row, /class="state ok"/, name);
    }
    return text;
  });
  assert.match(body, new RegExp(node.config.node_id));
  assert.match(body, /data-status="down"/);

  const proof = /name="proof" value="([0-9a-f]{64})"/.exec(body)?.[1] ?? "";
  const signOut = (origin: string) =>
    get("/console/logout", {
      method: "POST",
      headers: { cookie, origin },
      body: new URLSearchParams({ proof }),
    });
  const foreign = await signOut("https://localhost:1");
  await foreign.body?.cancel();
  assert.equal(foreign.status, 403);
  const out = await signOut(node.endpoint);
  await out.body?.cancel();
  assert.equal(out.status, 303);
  const after = await get("/console", { headers: { cookie } });
  await after.body?.cancel();
  assert.equal(after.status, 403);

  // The gateway faces the world: it may pass pages on, and never make a link for itself.
  const gateway = await node.bus("gateway");
  await assert.rejects(gateway.ask({ ...loginLink, timeout_ms: 500 }, null));
  const direct = await gateway.ask(consolePage, {
    method: "GET",
    target: "/console",
    cookie: "",
    form: {},
  });
  assert.equal(direct.status, 403);

  for (const process of processes.reverse()) {
    assert.equal(await process.stop(), 0, process.log());
    assert.doesNotMatch(process.log(), /"level":"error"/);
    assert.equal(
      process.log().includes(cookie.split("=")[1] ?? "x"),
      false,
      "no session is logged",
    );
  }
});

Deno.test("a session outlives a restart of the console, killed at that", async () => {
  await using node = await startNode();
  const gateway = await node.start("gateway");
  const first = await node.start("console");
  await Promise.all([gateway.healthy(), first.healthy()]);
  using client = Deno.createHttpClient({ caCerts: [await Deno.readTextFile(node.paths.tls.ca)] });
  const get = async (target: string, cookie = "") => {
    const reply = await fetch(new URL(target, node.endpoint), {
      client,
      redirect: "manual",
      headers: { cookie },
    });
    await reply.body?.cancel();
    return reply;
  };
  const { url } = await (await node.bus("operator")).ask(loginLink, null);
  const cookie = (await get(url)).headers.get("set-cookie")?.split(";")[0] ?? "";
  await first.stop("SIGKILL");
  assert.equal((await get("/console", cookie)).status, 503);
  const second = await node.start("console");
  await second.healthy();
  assert.equal((await get("/console", cookie)).status, 200);
});
