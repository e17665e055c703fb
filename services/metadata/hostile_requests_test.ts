import assert from "node:assert/strict";
import { startNats } from "../../tests/kit/nats.ts";
import { buckets, type InstanceRecord } from "../compute/contract.ts";
import { pathsOf } from "../config/node_config.ts";
import { createLog } from "../log/log.ts";
import { Table } from "../state/table.ts";
import { RoleCredentials } from "./role_credentials.ts";
import { MetadataServers } from "./servers.ts";
import { Tokens } from "./token.ts";

const instance = {
  instance_id: "i-0123456789abcdef0",
  account_id: "000000000001",
  image_id: "ami-0123456789abcdef0",
  node_id: "n1",
  az: "ap-southeast-2a",
  state: "running",
  network: {
    private_ip: "172.31.7.9",
    private_dns_name: "ip-172-31-7-9",
    mac: "06:01",
    vpc_id: "",
  },
  metadata_options: { http_tokens: "optional", http_endpoint: "enabled" },
  attachments: [],
  tags: {},
} as unknown as InstanceRecord;

/** What stands before the headers in the answer to a request that is sent as it is. */
async function answered(path: string, request: string): Promise<string> {
  using connection = await Deno.connect({ transport: "unix", path });
  await connection.write(new TextEncoder().encode(request));
  const bytes = new Uint8Array(4_096);
  const length = await connection.read(bytes) ?? 0;
  const [line = ""] = new TextDecoder().decode(bytes.subarray(0, length)).split("\r\n");
  return line.replace(/^HTTP\/1\.\d (\d+).*$/, "$1");
}

Deno.test("what a guest writes into the Host header changes neither the path nor fills the log", async () => {
  await using nats = await startNats();
  const lines: string[] = [];
  const log = createLog("metadata", { minimum: "warn", write: (line) => lines.push(line) });
  const bus = await nats.bus();
  await using table = await Table.open<InstanceRecord>(bus, buckets.instances, log);
  const paths = pathsOf(nats.directory);
  await using servers = new MetadataServers({
    instances: table,
    node_id: "n1",
    paths,
    context: { region: "ap-southeast-2", tokens: new Tokens(new Uint8Array(32)) },
    roles: new RoleCredentials(bus, log),
    log,
  });
  await table.create(`${instance.account_id}.${instance.instance_id}`, instance);
  await servers.settled();
  const get = (target: string, host?: string) =>
    answered(
      paths.imds(instance.instance_id),
      `GET ${target} HTTP/1.1\r\n${host === undefined ? "" : `Host: ${host}\r\n`}\r\n`,
    );
  for (const host of ["169.254.169.254", "169.254.169.254:80", "[fd00:ec2::254]", "imds", ""]) {
    assert.equal(await get("/latest/meta-data/ami-id", host), "200", host);
    assert.equal(await get("/latest/meta-data/none", host), "404", host);
  }
  for (const host of ["[bad", "a b c", "a/latest/user-data?x#", "a/../b", "a\\b", "a@b"]) {
    assert.equal(await get("/latest/meta-data/ami-id", host), "400", host);
  }
  assert.equal(await get("//latest//meta-data/ami-id", "imds"), "200");
  assert.equal(await get("/latest/x/../meta-data/ami-id?a=/b#c", "imds"), "200");
  assert.equal(await get("http://169.254.169.254/latest/meta-data/ami-id", "imds"), "200");
  assert.equal(await get("http://[::1/latest/meta-data/ami-id", "imds"), "400");
  assert.equal(await get("/latest/%zz", "imds"), "400");
  assert.deepEqual(lines, []);
});
