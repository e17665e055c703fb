import assert from "node:assert/strict";
import { createHash } from "node:crypto";
import { startNats, testLog, type TestNats } from "../../tests/kit/nats.ts";
import type { Bus } from "../bus/bus.ts";
import type { InstanceRecord } from "../compute/contract.ts";
import { buckets } from "../compute/contract.ts";
import type { NodeConfig } from "../config/node_config.ts";
import type { PageReply, PageRequest } from "../gateway/contract.ts";
import { services } from "../manifest.ts";
import { type Health, healthOf } from "../runtime/run_service.ts";
import { Table } from "../state/table.ts";
import { Tables } from "./inventory.ts";
import { answerPage, cookieName } from "./pages.ts";
import { HealthWatch } from "./service_health.ts";
import { loginLifetime_ms, sessionLifetime_ms, Sessions } from "./sessions.ts";
import { until } from "../../tests/kit/until.ts";

const config: NodeConfig = {
  version: 1,
  cluster_id: "c-test",
  node_id: "n-test",
  region: "eu-west-1",
  az: "eu-west-1a",
  data_dir: "/node",
  bind: "127.0.0.1",
  ports: { gateway: 19999, s3: 19002, nats: 14222, control: 18443 },
  profile: "test",
  storage: { blobs: ["/node"], data_shards: 1, parity_shards: 0, reserve_bytes: 0 },
  compute: { accelerator: "tcg", cpu_overcommit: 1, reserve_memory_mib: 0 },
};

const caCertificate = "-----BEGIN CERTIFICATE-----\nMIIB\n-----END CERTIFICATE-----\n";

async function consoleOn(nats: TestNats) {
  const bus = await nats.bus("console");
  const clock = { now_ms: Date.now() };
  const sessions = await Sessions.open(bus, testLog, () => clock.now_ms);
  const tables = await Tables.open(bus, testLog);
  const watch = new HealthWatch(bus, config.node_id, () => clock.now_ms);
  const sources = {
    config,
    sessions,
    caCertificate,
    health: () => watch.check(),
    inventory: () => tables.read(),
    now: () => clock.now_ms,
  };
  const get = (target: string, cookie = "", changed: Partial<PageRequest> = {}) =>
    answerPage(sources, { method: "GET", target, cookie, form: {}, ...changed });
  const signIn = async () => {
    const { token } = await sessions.newLogin();
    return cookieOf(await get(`/console/login?token=${token}`));
  };
  return { bus, clock, sessions, get, signIn };
}

function cookieOf(reply: PageReply): string {
  return (reply.headers["set-cookie"] ?? "").split(";")[0] ?? "";
}

async function answerHealth(bus: Bus, service: string, said: Partial<Health>): Promise<void> {
  bus.answer(healthOf(service, config.node_id), () => ({
    service,
    node_id: config.node_id,
    status: "ok" as const,
    uptime_ms: 3_720_000,
    rss_bytes: 52_428_800,
    facts: {},
    ...said,
  }), { queue: null });
  await bus.connection.flush();
}

const instance: InstanceRecord = {
  instance_id: "i-0123456789abcdef0",
  account_id: "123456789012",
  reservation_id: "r-0123456789abcdef0",
  launch_index: 0,
  image_id: "ami-0123456789abcdef0",
  instance_type: "t3.micro",
  architecture: "x86_64",
  node_id: "n-test",
  az: "eu-west-1a",
  wanted: "running",
  state: "running",
  launch_time: new Date(Date.now() - 7_500_000).toISOString(),
  state_time: new Date().toISOString(),
  network: {
    private_ip: "172.31.0.10",
    private_dns_name: "ip-172-31-0-10",
    mac: "02:00:00:00:00:01",
    subnet_id: "subnet-1",
    vpc_id: "vpc-1",
    interface_id: "eni-1",
    ssh_port: 20022,
  },
  metadata_options: {
    http_tokens: "required",
    http_endpoint: "enabled",
    instance_metadata_tags: "disabled",
  },
  root_device_name: "/dev/xvda",
  attachments: [{
    volume_id: "vol-0123456789abcdef0",
    device: "/dev/xvda",
    status: "attached",
    attach_time: new Date().toISOString(),
    delete_on_termination: true,
    slot: 0,
  }],
  tags: { Name: `<script>alert("x")</script>` },
};

Deno.test("without a session a browser learns how to sign in, and nothing of what is inside", async () => {
  await using nats = await startNats();
  const { bus, get } = await consoleOn(nats);
  await using table = await Table.open<InstanceRecord>(bus, buckets.instances, testLog);
  await table.create(`${instance.account_id}.${instance.instance_id}`, instance);
  for (
    const [target, cookie] of [
      ["/console", ""],
      ["/console/", "other=1"],
      ["/console", `${cookieName(config)}=${"A".repeat(43)}`],
      ["/console", `${cookieName(config)}=__proto__`],
      ["/console/login", ""],
      ["/console/login?token=", ""],
      [`/console/login?token=${"A".repeat(43)}`, ""],
      ["/console/login?token=../session", ""],
      ["/console/anything?x=%00%ff", ""],
      ["//host:bad", ""],
    ] as const
  ) {
    const reply = await get(target, cookie);
    assert.ok([403, 404].includes(reply.status), target);
    assert.equal(reply.headers["set-cookie"], undefined);
    assert.doesNotMatch(reply.body, /n-test|eu-west-1|i-0123|predastore/, target);
  }
  assert.match((await get("/console")).body, /hive console-link/);
});

Deno.test("a login link signs one browser in, once, and only for five minutes", async () => {
  await using nats = await startNats();
  const { clock, sessions, get } = await consoleOn(nats);
  const { token } = await sessions.newLogin();
  // A program that looks whether the link is one does not use it up.
  const head = { method: "HEAD" } as const;
  assert.equal((await get(`/console/login?token=${token}`, "", head)).status, 403);
  const replies = await Promise.all([1, 2, 3].map(() => get(`/console/login?token=${token}`)));
  assert.deepEqual(replies.map((reply) => reply.status).sort(), [303, 403, 403]);
  const signedIn = replies.find((reply) => reply.status === 303)!;
  assert.equal(signedIn.headers["location"], "/console");
  assert.equal((await get("/console", cookieOf(signedIn), head)).status, 200);
  assert.match(
    signedIn.headers["set-cookie"] ?? "",
    /^__Host-mulga-19999=[\w-]{43}; Path=\/; Max-Age=28800; Secure; HttpOnly; SameSite=Strict$/,
  );
  assert.equal((await get("/console", cookieOf(signedIn))).status, 200);

  const late = await sessions.newLogin();
  clock.now_ms += loginLifetime_ms + 1;
  assert.equal((await get(`/console/login?token=${late.token}`)).status, 403);
  clock.now_ms += sessionLifetime_ms;
  assert.equal((await get("/console", cookieOf(signedIn))).status, 403);
  await sessions.sweep();
  assert.equal(sessions.size, 0, "what has expired is removed");
});

Deno.test("the store holds neither login tokens nor sessions, only their hashes", async () => {
  await using nats = await startNats();
  const { bus, sessions, signIn } = await consoleOn(nats);
  const { token } = await sessions.newLogin();
  const session = (await signIn()).split("=")[1] ?? "";
  await using table = await Table.open(bus, "console_sessions", testLog);
  const stored = JSON.stringify(table.list());
  assert.equal(table.size, 2);
  assert.equal(stored.includes(token) || stored.includes(session), false);
  // A session is no login token, nor the reverse.
  assert.equal(await sessions.redeem(session), undefined);
  assert.equal(sessions.isSignedIn(token), false);
});

Deno.test("signing out needs the page's own form, and ends the session everywhere", async () => {
  await using nats = await startNats();
  const { get, signIn } = await consoleOn(nats);
  const cookie = await signIn();
  const proof = /name="proof" value="([0-9a-f]{64})"/.exec((await get("/console", cookie)).body)
    ?.[1];
  assert.ok(proof);
  const post = (form: Record<string, string>) =>
    get("/console/logout", cookie, { method: "POST", form });
  assert.equal((await post({})).status, 403);
  assert.equal((await post({ proof: "0".repeat(64) })).status, 403);
  assert.equal((await post({ proof: "é".repeat(32) })).status, 403);
  assert.equal((await get("/console/logout", cookie)).status, 405);
  assert.equal((await get("/console", cookie)).status, 200);
  const out = await post({ proof });
  assert.equal(out.status, 303);
  assert.match(out.headers["set-cookie"] ?? "", /Max-Age=0/);
  assert.equal((await get("/console", cookie)).status, 403);
});

Deno.test("the page tells the health of every service in bounded time, and since when it is bad", async () => {
  await using nats = await startNats();
  const { clock, get, signIn } = await consoleOn(nats);
  const bus = await nats.bus("others");
  for (const { name } of services) {
    if (!["nats", "viperblock", "metadata", "compute"].includes(name)) {
      await answerHealth(bus, name, { facts: { objects: 12 } });
    }
  }
  await answerHealth(bus, "viperblock", { status: "degraded", detail: "The disk is nearly full." });
  // A service that hangs must not make the page wait for it.
  bus.answer(healthOf("metadata", config.node_id), () => new Promise<never>(() => {}), {
    queue: null,
  });
  // One that answers nonsense must not break it.
  bus.answer(healthOf("compute", config.node_id), () => "<b>fine</b>" as unknown as Health, {
    queue: null,
  });
  await bus.connection.flush();
  const cookie = await signIn();
  await get("/console", cookie);
  clock.now_ms += 180_000;
  const { body } = await get("/console", cookie);
  const row = (name: string) => body.slice(body.indexOf(`<div>${name}<`)).split("</tr>")[0] ?? "";
  assert.match(row("identity"), /class="state ok">ok<[^]*1 h 2 min[^]*50 MiB[^]*objects 12/);
  assert.match(row("viperblock"), /state degraded[^]*nearly full\. So for 3 min at least\./);
  assert.match(row("metadata"), /state down[^]*does not answer\. So for 3 min/);
  assert.match(row("compute"), /state degraded/);
  assert.match(row("nats"), /state ok[^]*version 2\./);
  assert.match(body, /Down: metadata\. Degraded: viperblock, compute\./);
  bus.connection.close();
});

Deno.test("instances, volumes and images are shown, hostile names as text, broken records as gaps", async () => {
  await using nats = await startNats();
  const { bus, get, signIn } = await consoleOn(nats);
  const cookie = await signIn();
  assert.match((await get("/console", cookie)).body, /There is no instance yet\./);
  const writer = await nats.bus("compute");
  const open = (bucket: string) => Table.open<unknown>(writer, bucket, testLog);
  await using instances = await open(buckets.instances);
  await using volumes = await open(buckets.volumes);
  await using images = await open(buckets.images);
  await instances.create("123456789012.i-1", instance);
  await instances.create("123456789012.i-2", { instance_id: "i-2", launch_time: 5, tags: null });
  await instances.create("123456789012.i-3", { attachments: null, network: "x" });
  await volumes.create("123456789012.vol-1", {
    volume_id: "vol-1",
    size_gib: 8,
    state: "in-use",
    attachment: { instance_id: "i-1", device: "/dev/sdf" },
  });
  await volumes.create("123456789012.vol-2", { state: `"><img src=x>` });
  await images.create("123456789012.ami-2", { image_id: "ami-2", state: "deregistered" });
  await images.create("123456789012.ami-1", {
    image_id: instance.image_id,
    name: "debian-13",
    state: "available",
    block_devices: [],
  });
  const body = await until("what was written is shown", async () => {
    const { body } = await get("/console", cookie);
    return ["debian-13", "vol-1", "i-2"].every((id) => body.includes(id)) && body;
  });
  assert.doesNotMatch(body, /ami-2/, "nobody sees an image that was deregistered");
  assert.match(body, /&lt;script&gt;alert/);
  assert.doesNotMatch(body, /<script>alert|<img/);
  assert.match(body, /2 h 5 min/);
  assert.match(body, /hive ssh i-0123456789abcdef0/);
  assert.match(body, /\/dev\/xvda <span class="id">vol-0123456789abcdef0/);
  assert.match(body, /172\.31\.0\.10/);
  assert.match(body, /8 GiB/);
  assert.match(body, /run-instances --image-id ami-0123456789abcdef0/);
  assert.doesNotMatch(body, /NaN|undefined|\[object|Invalid Date/);
  await bus.connection.flush();
});

Deno.test("the page needs nothing from outside, and its policy lets nothing else run", async () => {
  await using nats = await startNats();
  const { get, signIn } = await consoleOn(nats);
  const reply = await get("/console", await signIn());
  const policy = reply.headers["content-security-policy"] ?? "";
  assert.match(policy, /^default-src 'none'; /);
  assert.doesNotMatch(policy, /unsafe|https?:|\*/);
  for (const [, tag, text] of reply.body.matchAll(/<(script|style)>([^]*?)<\/\1>/g)) {
    const hash = createHash("sha256").update(text ?? "").digest("base64");
    assert.ok(policy.includes(`${tag}-src 'sha256-${hash}'`), `the policy names the ${tag}`);
  }
  assert.doesNotMatch(reply.body, /\s(src|style|on\w+)=/);
  assert.doesNotMatch(reply.body.replaceAll(/<script>[^]*?<\/script>/g, ""), /url\(|@import/);
  assert.equal(reply.headers["cache-control"], "no-store");
  assert.equal(reply.headers["referrer-policy"], "same-origin");
  assert.equal(reply.headers["x-content-type-options"], "nosniff");
  const ids = [...reply.body.matchAll(/\sid="([^"]+)"/g)].map((match) => match[1]);
  assert.equal(new Set(ids).size, ids.length, "ids are unique");
});

Deno.test("the CA's certificate can be had by everybody", async () => {
  await using nats = await startNats();
  const { get } = await consoleOn(nats);
  const reply = await get("/console/ca.crt");
  assert.equal(reply.status, 200);
  assert.equal(reply.headers["content-type"], "application/x-x509-ca-cert");
  assert.equal(reply.body, caCertificate);
});
