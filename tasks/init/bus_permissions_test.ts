import assert from "node:assert/strict";
import { join } from "node:path";
import { Bus } from "../../services/bus/bus.ts";
import { subject, systemContext } from "../../services/bus/subject.ts";
import { type ServiceName, services } from "../../services/manifest.ts";
import { Table } from "../../services/state/table.ts";
import { testLog } from "../../tests/kit/nats.ts";
import { placeNatsServer } from "../setup/nats_server.ts";
import { natsGreets } from "../supervisor/health_probe.ts";
import { operatorBus, operatorName, subjectPermissions } from "./bus_permissions.ts";
import { initNode } from "./init.ts";
import { until } from "../../tests/kit/until.ts";

/** A real server with the configuration that a node gets, and buses that speak as its services. */
async function nodeBus() {
  const dataDir = await Deno.makeTempDir({ prefix: "mulga-bus-" });
  const { config, paths } = await initNode(dataDir, { ports: { auto: true } });
  await placeNatsServer(paths);
  const server = new Deno.Command(join(paths.bin, "nats-server"), {
    args: ["-c", paths.natsConfig],
    stdin: "null",
    stdout: "null",
    stderr: "null",
  }).spawn();
  await until("nats-server answers", () => natsGreets(config.ports.nats));
  const buses: Bus[] = [];
  return {
    async as(name: ServiceName | typeof operatorName): Promise<Bus> {
      const bus = await Bus.connect({
        service: name,
        url: `nats://127.0.0.1:${config.ports.nats}`,
        seed: await Deno.readFile(paths.nkey(name)),
        log: testLog,
      });
      buses.push(bus);
      return bus;
    },
    port: config.ports.nats,
    async [Symbol.asyncDispose]() {
      for (const bus of buses) await bus.connection.close();
      server.kill("SIGKILL");
      await server.status;
      await Deno.remove(dataDir, { recursive: true });
    },
  };
}

const question = (name: string) => subject<null, string>(name, 30_000);

Deno.test("every service of the table can be told in subjects", () => {
  for (const spec of services) {
    const { subscribe } = subjectPermissions(spec.name, spec.bus);
    assert.ok(subscribe.includes(`health.${spec.name}.*`));
    assert.ok(!subscribe.includes(">") && !subscribe.includes("_INBOX.>"), spec.name);
  }
  assert.throws(
    () => subjectPermissions("x", { hears: [], says: [], writes: ["ec2_*"] }),
    RangeError,
  );
});

/** Whether one subject can fit both patterns. */
function meet(one: string, other: string): boolean {
  const [a, b] = [one.split("."), other.split(".")];
  for (let at = 0; at < Math.max(a.length, b.length); at++) {
    const [mine, its] = [a[at], b[at]];
    if (mine === ">" || its === ">") return mine !== undefined && its !== undefined;
    if (mine !== its && mine !== "*" && its !== "*") return false;
  }
  return true;
}

Deno.test("nobody may say what nobody hears, nor hear what nobody says", () => {
  const all = [
    ...services.map(({ name, bus }) => ({ name: String(name), ...bus })),
    { name: operatorName, ...operatorBus },
  ];
  const met = (mine: string, theirs: readonly string[]) =>
    theirs.some((subject) => meet(mine, subject));
  // Health and the JetStream interface have subjects of their own; what goes into a stream is heard by it.
  const heard = [...all.flatMap((one) => one.hears), "health.>", "$JS.>"];
  const said = all.flatMap((one) => one.says);
  for (const { name, says, hears, streams = [] } of all) {
    for (const subject of says) {
      if (streams.length > 0 && /^audit(_strangers)?\.|\.event\./.test(subject)) continue;
      const events = subject.includes(".event.");
      assert.ok(
        met(subject, heard.filter((one) => events || !one.includes(".event."))),
        `${name} says ${subject} to nobody`,
      );
    }
    for (const subject of hears) {
      assert.ok(met(subject, said), `${name} hears ${subject} from nobody`);
    }
  }
});

Deno.test("metadata, which stands next to the guests, sees their instances and nothing else of the state", () => {
  const metadata = services.find(({ name }) => name === "metadata")?.bus;
  assert.deepEqual([metadata?.reads, metadata?.writes], [["ec2_instances"], undefined]);
});

Deno.test("a service may ask and answer what its entry says, and nothing of another's", async () => {
  await using node = await nodeBus();
  const [gateway, compute, metadata] = [
    await node.as("gateway"),
    await node.as("compute"),
    await node.as("metadata"),
  ];
  compute.answer(question("ec2.DescribeInstances"), () => "instances");
  await compute.connection.flush();
  assert.equal(await gateway.ask(question("ec2.DescribeInstances"), null), "instances");
  // Metadata stands next to the guests: it may not ask for instances to be started.
  await assert.rejects(
    metadata.ask(question("ec2.DescribeInstances"), null, systemContext(1_000)),
  );

  // Nobody but identity can pretend to be identity.
  const heard: string[] = [];
  const intruder = await node.as("console");
  intruder.answer(question("identity.signing_key"), () => {
    heard.push("asked");
    return "forged";
  });
  await intruder.connection.flush();
  await assert.rejects(gateway.ask(question("identity.signing_key"), null, systemContext(1_000)));
  assert.deepEqual(heard, []);
});

Deno.test("a bucket is written by its owner, read by those who may, and closed to all others", async () => {
  await using node = await nodeBus();
  const [compute, metadata, gateway] = [
    await node.as("compute"),
    await node.as("metadata"),
    await node.as("gateway"),
  ];
  await using written = await Table.open<{ n: number }>(compute, "ec2_instances", testLog);
  const row = await written.create("1.i-1", { n: 1 });
  await using watched = await Table.open<{ n: number }>(metadata, "ec2_instances", testLog);
  assert.deepEqual(watched.get("1.i-1")?.value, { n: 1 });
  await written.update("1.i-1", { n: 2 }, row.revision);
  await written.delete("1.i-1");
  await assert.rejects(watched.create("1.i-2", { n: 3 }));
  assert.equal(await written.read("1.i-2"), undefined);
  await assert.rejects(Table.open(gateway, "iam_keys", testLog));
});

/** What the server says to a client that connects without proving a key. */
async function withoutKey(port: number): Promise<string> {
  using connection = await Deno.connect({ hostname: "127.0.0.1", port });
  const hello = 'CONNECT {"verbose":false,"pedantic":false}\r\nPING\r\n';
  await connection.write(new TextEncoder().encode(hello));
  const bytes = new Uint8Array(4_096);
  let said = "";
  for (;;) {
    const got = await connection.read(bytes).catch(() => null);
    if (got === null) return said;
    said += new TextDecoder().decode(bytes.subarray(0, got));
    if (/PONG|-ERR/.test(said)) return said;
  }
}

Deno.test("whoever has no key is not let in, and the operator alone may ask for the credentials", async () => {
  await using node = await nodeBus();
  assert.match(await withoutKey(node.port), /Authorization Violation/);
  const [identity, operator, console_] = [
    await node.as("identity"),
    await node.as(operatorName),
    await node.as("console"),
  ];
  identity.answer(question("identity.admin_credentials"), () => "AKIA");
  await identity.connection.flush();
  assert.equal(await operator.ask(question("identity.admin_credentials"), null), "AKIA");
  await assert.rejects(
    console_.ask(question("identity.admin_credentials"), null, systemContext(1_000)),
  );
});

Deno.test("a client that is slow to answer the server's question is not cut off", async () => {
  await using node = await nodeBus();
  const connection = await Deno.connect({ hostname: "127.0.0.1", port: node.port });
  const buffer = new Uint8Array(8192);
  assert.ok(await connection.read(buffer), "the question");
  // The server's own patience is two seconds; it says so and closes when that is over.
  const said = connection.read(buffer).then(
    (read) => read === null ? "closed" : new TextDecoder().decode(buffer.subarray(0, read)),
  );
  const patient = Promise.withResolvers<string>();
  const timer = setTimeout(patient.resolve, 3_000, "nothing");
  const first = await Promise.race([said, patient.promise]);
  clearTimeout(timer);
  assert.ok(first === "nothing" || first.startsWith("PING"), first);
  connection.close();
  await said.catch(() => {});
});
