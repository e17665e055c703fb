import assert from "node:assert/strict";
import { startNats, testLog } from "../../../tests/kit/nats.ts";
import { AwsError } from "../../aws/errors.ts";
import { pathsOf } from "../../config/node_config.ts";
import { Table } from "../../state/table.ts";
import { addressBucket, type AddressClaim, macOf, UserNetwork } from "./network.ts";

async function network(nats: Awaited<ReturnType<typeof startNats>>) {
  const claims = await Table.open<AddressClaim>(await nats.bus(), addressBucket, testLog);
  return {
    claims,
    network: new UserNetwork({
      claims,
      paths: pathsOf("/data dir"),
      region: "ap-southeast-2",
      cluster_id: "c-1",
    }),
    [Symbol.asyncDispose]: () => claims[Symbol.asyncDispose](),
  };
}

const owner = (n: number) => ({
  account_id: "000000000001",
  instance_id: `i-${n.toString(16).padStart(17, "0")}`,
  az: "ap-southeast-2a",
});

Deno.test("two computes that claim at once never hand out an address twice", async () => {
  await using nats = await startNats();
  await using one = await network(nats);
  await using two = await network(nats);
  const claimed = await Promise.all(
    Array.from({ length: 200 }, (_, n) => (n % 2 === 0 ? one : two).network.claim(owner(n))),
  );
  assert.equal(new Set(claimed.map((made) => made.private_ip)).size, 200);
  for (const { private_ip } of claimed) assert.match(private_ip, /^172\.31\.([0-9]|1[0-5])\./);
});

Deno.test("a full subnet is refused, and what is given back is handed out again", async () => {
  await using nats = await startNats();
  await using opened = await network(nats);
  const { network: net, claims } = opened;
  const first = await net.claim(owner(1));
  assert.deepEqual(await net.claim(owner(1)), first, "claiming again claims no second address");
  // Every other address taken by another instance, written straight into the table.
  let writes: Promise<unknown>[] = [];
  for (let host = 4; host <= 4094; host++) {
    const key = `000000000001.172-31-${host >> 8}-${host & 255}`;
    if (key.endsWith(`.${first.private_ip.replaceAll(".", "-")}`)) continue;
    writes.push(claims.create(key, { instance_id: owner(2).instance_id, claimed_ms: Date.now() }));
    // Few at a time: a busy server must answer each before its time is over.
    if (writes.length < 64) continue;
    await Promise.all(writes);
    writes = [];
  }
  await Promise.all(writes);
  await assert.rejects(
    net.claim(owner(3)),
    (error: unknown) =>
      error instanceof AwsError && error.code === "InsufficientFreeAddressesInSubnet",
  );
  // Not the owner's to give.
  await net.release(owner(3), first);
  assert.notEqual(
    await claims.read(`000000000001.${first.private_ip.replaceAll(".", "-")}`),
    undefined,
  );
  await net.release(owner(1), first);
  await net.release(owner(1), first);
  assert.equal((await net.claim(owner(3))).private_ip, first.private_ip);
});

Deno.test("a claim whose launch came to nothing is swept, others stay", async () => {
  await using nats = await startNats();
  await using opened = await network(nats);
  const { network: net, claims } = opened;
  const old = Date.now() - 3600_000;
  await claims.create("000000000001.172-31-0-9", { instance_id: "i-lost", claimed_ms: old });
  await claims.create("000000000001.172-31-0-10", { instance_id: "i-live", claimed_ms: old });
  await claims.create("000000000001.172-31-0-11", { instance_id: "i-new", claimed_ms: Date.now() });
  await net.sweep((_account, id) => id === "i-live");
  assert.deepEqual(claims.list().map((row) => row.value.instance_id), ["i-live", "i-new"]);
});

Deno.test("MAC addresses are unicast, locally administered and differ", () => {
  const macs = Array.from({ length: 100 }, () => {
    const id = crypto.getRandomValues(new Uint8Array(9)).toHex().slice(0, 17);
    return macOf(`i-${id}`);
  });
  for (const mac of macs) assert.match(mac, /^06(:[0-9a-f]{2}){5}$/);
  assert.equal(new Set(macs).size, 100);
});

Deno.test("the port that leads to a guest is none that the kernel gives to any connection", async () => {
  await using nats = await startNats();
  await using opened = await network(nats);
  const range = Deno.readTextFileSync("/proc/sys/net/ipv4/ip_local_port_range");
  const first = Number(range.split(/\s+/)[0]);
  const guest = await opened.network.claim(owner(1));
  for (let start = 0; start < 50; start++) {
    const { ssh_port = 0 } = opened.network.connect(owner(1).instance_id, guest);
    if (first > 11_000) assert.ok(ssh_port >= 10_000 && ssh_port < first, String(ssh_port));
  }
});
