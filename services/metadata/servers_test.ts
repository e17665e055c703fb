import assert from "node:assert/strict";
import { buckets, type InstanceRecord } from "../compute/contract.ts";
import { pathsOf } from "../config/node_config.ts";
import { Table } from "../state/table.ts";
import { startNats, testLog } from "../../tests/kit/nats.ts";
import { RoleCredentials } from "./role_credentials.ts";
import { MetadataServers } from "./servers.ts";
import { Tokens } from "./token.ts";

const instance: InstanceRecord = {
  instance_id: "i-0123456789abcdef0",
  account_id: "000000000001",
  reservation_id: "r-0123456789abcdef0",
  launch_index: 0,
  image_id: "ami-0123456789abcdef0",
  instance_type: "t3.micro",
  architecture: "x86_64",
  key_name: "mine",
  public_key: "ssh-ed25519 AAAA mine",
  user_data: btoa("#!/bin/sh\n\xff\x00"),
  node_id: "n1",
  az: "ap-southeast-2a",
  wanted: "running",
  state: "running",
  launch_time: "2026-11-21T10:00:00.000Z",
  state_time: "2026-11-21T10:00:00.000Z",
  network: {
    private_ip: "172.31.7.9",
    private_dns_name: "ip-172-31-7-9.ap-southeast-2.compute.internal",
    mac: "06:01:23:45:67:89",
    subnet_id: "subnet-0123456789abcdef0",
    vpc_id: "vpc-0123456789abcdef0",
    interface_id: "eni-0123456789abcdef0",
  },
  metadata_options: {
    http_tokens: "optional",
    http_endpoint: "enabled",
    instance_metadata_tags: "enabled",
  },
  root_device_name: "/dev/xvda",
  attachments: [
    {
      volume_id: "vol-0123456789abcdef0",
      device: "/dev/xvda",
      status: "attached",
      attach_time: "2026-11-21T10:00:00.000Z",
      delete_on_termination: true,
      slot: 0,
    },
    {
      volume_id: "vol-0123456789abcdef1",
      device: "/dev/sdf",
      status: "attached",
      attach_time: "2026-11-21T10:00:00.000Z",
      delete_on_termination: true,
      slot: 1,
    },
  ],
  tags: { Name: "web", "with/slash": "hidden" },
};

async function start(nats: Awaited<ReturnType<typeof startNats>>) {
  const table = await Table.open<InstanceRecord>(await nats.bus(), buckets.instances, testLog);
  const paths = pathsOf(nats.directory);
  const servers = new MetadataServers({
    instances: table,
    node_id: "n1",
    paths,
    context: { region: "ap-southeast-2", tokens: new Tokens(new Uint8Array(32).fill(7)) },
    roles: new RoleCredentials(await nats.bus(), testLog),
    log: testLog,
  });
  const put = async (record: InstanceRecord) => {
    await table.modify(`${record.account_id}.${record.instance_id}`, () => record);
    await servers.settled();
  };
  const clients: Deno.HttpClient[] = [];
  const client = (id: string) => {
    const made = Deno.createHttpClient({
      proxy: { transport: "unix", path: paths.imds(id) },
    });
    clients.push(made);
    return (path: string, init: RequestInit = {}) =>
      fetch(`http://169.254.169.254/${path}`, { ...init, client: made });
  };
  return {
    table,
    servers,
    put,
    client,
    paths,
    async [Symbol.asyncDispose]() {
      for (const made of clients) made.close();
      await servers[Symbol.asyncDispose]();
      await table[Symbol.asyncDispose]();
    },
  };
}

type Get = (path: string, init?: RequestInit) => Promise<Response>;

/** As cloud-init does: every listing entered, every leaf read; nothing may be missing. */
async function walk(get: Get, at: string, found: Map<string, string>): Promise<void> {
  const response = await get(at);
  assert.equal(response.status, 200, at);
  const listing = await response.text();
  for (const line of listing.split("\n").filter((name) => name !== "")) {
    if (at.endsWith("public-keys/")) {
      const [index] = line.split("=");
      await leaf(get, `${at}${index}/openssh-key`, found);
    } else if (line.endsWith("/")) await walk(get, at + line, found);
    else await leaf(get, at + line, found);
  }
}

async function leaf(get: Get, at: string, found: Map<string, string>): Promise<void> {
  const response = await get(at);
  assert.equal(response.status, 200, at);
  found.set(at, await response.text());
}

Deno.test("the whole tree is walked without a miss and says what the record says", async () => {
  await using nats = await startNats();
  await using metadata = await start(nats);
  await metadata.put(instance);
  const get = metadata.client(instance.instance_id);
  const found = new Map<string, string>();
  await walk(get, "2021-03-23/meta-data/", found);
  const at = (path: string) => found.get(`2021-03-23/meta-data/${path}`);
  assert.equal(at("instance-id"), instance.instance_id);
  assert.equal(at("local-ipv4"), "172.31.7.9");
  assert.equal(at("public-keys/0/openssh-key"), "ssh-ed25519 AAAA mine\n");
  assert.equal(at("block-device-mapping/ebs1"), "sdf");
  assert.equal(at("placement/availability-zone-id"), "apse2-az1");
  assert.equal(
    at("network/interfaces/macs/06:01:23:45:67:89/subnet-ipv4-cidr-block"),
    "172.31.0.0/20",
  );
  assert.equal(at("tags/instance/Name"), "web");
  assert.equal(found.has("2021-03-23/meta-data/tags/instance/with/slash"), false);

  // Cloud-init asks for this listing with and without a slash; each miss costs it five seconds.
  for (const path of ["latest/dynamic/instance-identity", "latest/dynamic/instance-identity/"]) {
    assert.equal(await (await get(path)).text(), "document");
  }
  const document = await (await get("latest/dynamic/instance-identity/document")).json();
  assert.equal(document.instanceId, instance.instance_id);
  assert.equal(document.region, "ap-southeast-2");
  const userData = new Uint8Array(await (await get("latest/user-data")).arrayBuffer());
  assert.deepEqual([...userData.slice(-2)], [0xff, 0x00], "user data is bytes, not text");
  for (const version of ["1.0", "2009-04-04", "2021-03-23", "latest"]) {
    assert.ok((await (await get("")).text()).split("\n").includes(version));
  }
  for (
    const missing of ["latest/meta-data/iam", "2030-01-01/meta-data/", "latest/meta-data/__proto__"]
  ) {
    const response = await get(missing);
    assert.equal(response.status, 404, missing);
    assert.match(await response.text(), /404 - Not Found/);
  }
});

Deno.test("tokens: given by PUT, bound to the instance and to their time, refused through proxies", async () => {
  await using nats = await startNats();
  await using metadata = await start(nats);
  const strict: InstanceRecord = {
    ...instance,
    metadata_options: { ...instance.metadata_options, http_tokens: "required" },
  };
  const other = { ...strict, instance_id: "i-0fedcba9876543210" };
  await metadata.put(strict);
  await metadata.put(other);
  const get = metadata.client(strict.instance_id);
  const ttl = (value: string, more: Record<string, string> = {}) => ({
    method: "PUT",
    headers: { "x-aws-ec2-metadata-token-ttl-seconds": value, ...more },
  });
  const status = async (path: string, init?: RequestInit) => {
    const response = await get(path, init);
    await response.body?.cancel();
    return response.status;
  };
  assert.equal(await status("latest/meta-data/"), 401);
  assert.equal(await status("nocloud/user-data"), 401);
  const given = await get("latest/api/token", ttl("21600"));
  const token = await given.text();
  assert.equal(given.headers.get("x-aws-ec2-metadata-token-ttl-seconds"), "21600");
  const headers = { "x-aws-ec2-metadata-token": token };
  assert.equal(await status("latest/meta-data/", { headers }), 200);
  for (const bad of ["0", "21601", "", "-1", "1e3", "9".repeat(40)]) {
    assert.equal(await status("latest/api/token", ttl(bad)), 400, bad);
  }
  assert.equal(await status("latest/api/token", ttl("60", { "x-forwarded-for": "10.0.0.1" })), 403);
  assert.equal(await status("latest/meta-data/", { method: "POST" }), 405);
  for (const wrong of ["", "x", `B${token.slice(1)}`, token.slice(0, -4)]) {
    assert.equal(
      await status("latest/meta-data/", { headers: { "x-aws-ec2-metadata-token": wrong } }),
      401,
      wrong,
    );
  }
  const foreign = await metadata.client(other.instance_id)("latest/meta-data/", { headers });
  await foreign.body?.cancel();
  assert.equal(foreign.status, 401, "another instance's token");
  let now_ms = 0;
  const aging = new Tokens(new Uint8Array(32), () => now_ms);
  const short = aging.issue("i-1", 10);
  now_ms = 9_000;
  assert.equal(aging.check("i-1", short), 1);
  now_ms = 10_000;
  assert.equal(aging.check("i-1", short), undefined);
});

Deno.test("sockets come and go with the records; changes are seen by the next request", async () => {
  await using nats = await startNats();
  await using metadata = await start(nats);
  await metadata.put(instance);
  await metadata.put({ ...instance, instance_id: "i-0000000000000000f", node_id: "elsewhere" });
  assert.equal(metadata.servers.count, 1);
  const get = metadata.client(instance.instance_id);
  await metadata.put({ ...instance, tags: { Name: "db" } });
  assert.equal(await (await get("latest/meta-data/tags/instance/Name")).text(), "db");
  await metadata.put({
    ...instance,
    metadata_options: { ...instance.metadata_options, http_endpoint: "disabled" },
  });
  const off = await get("latest/meta-data/");
  await off.body?.cancel();
  assert.equal(off.status, 403);
  await metadata.put({ ...instance, state: "terminated" });
  assert.equal(metadata.servers.count, 0);
  await assert.rejects(Deno.stat(metadata.paths.imds(instance.instance_id)), Deno.errors.NotFound);
});

Deno.test("NoCloud's four files are always there", async () => {
  await using nats = await startNats();
  await using metadata = await start(nats);
  const { user_data: _none, public_key: _nor, key_name: _that, ...bare } = instance;
  await metadata.put(bare);
  const get = metadata.client(instance.instance_id);
  const file = async (name: string) => {
    const response = await get(`nocloud/${name}`);
    assert.equal(response.status, 200, name);
    return await response.text();
  };
  assert.equal(JSON.parse(await file("meta-data"))["instance-id"], instance.instance_id);
  assert.equal(await file("user-data"), "");
  assert.equal(await file("vendor-data"), "");
  assert.equal(
    JSON.parse(await file("network-config")).ethernets.primary.match.macaddress,
    instance.network.mac,
  );
});

Deno.test("an instance that asks without end is told 503, another one is served", async () => {
  await using nats = await startNats();
  await using metadata = await start(nats);
  const other = { ...instance, instance_id: "i-0fedcba9876543210" };
  await metadata.put(instance);
  await metadata.put(other);
  const get = metadata.client(instance.instance_id);
  const statuses = new Map<number, number>();
  for (let round = 0; round < 40; round++) {
    await Promise.all(Array.from({ length: 50 }, async () => {
      const response = await get("latest/meta-data/instance-id");
      await response.body?.cancel();
      statuses.set(response.status, (statuses.get(response.status) ?? 0) + 1);
    }));
  }
  assert.ok((statuses.get(503) ?? 0) > 100, JSON.stringify([...statuses]));
  const fine = await metadata.client(other.instance_id)("latest/meta-data/instance-id");
  assert.equal(await fine.text(), other.instance_id);
});
