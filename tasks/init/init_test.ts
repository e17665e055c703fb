import assert from "node:assert/strict";
import { join } from "node:path";
import "reflect-metadata";
import * as x509 from "@peculiar/x509";
import { pathsOf } from "../../services/config/node_config.ts";
import { CommandError } from "../terminal/command.ts";
import { ensureCertificates } from "./certificates.ts";
import { requireUsableName } from "./data_dir.ts";
import { initNode } from "./init.ts";
import { choosePorts, requirePorts } from "./ports.ts";

async function temporary<T>(work: (directory: string) => Promise<T>): Promise<T> {
  const directory = await Deno.makeTempDir({ prefix: "mulga-init-" });
  try {
    return await work(directory);
  } finally {
    await Deno.remove(directory, { recursive: true });
  }
}

Deno.test("two nodes on one machine share nothing: ports, ids, keys, directories", async () => {
  await temporary(async (directory) => {
    const make = (name: string) => initNode(join(directory, name), { ports: { auto: true } });
    const [one, two] = [await make("one"), await make("two")];
    const ports = [one, two].flatMap((node) => Object.values(node.config.ports));
    assert.equal(new Set(ports).size, 8);
    assert.notEqual(one.config.node_id, two.config.node_id);
    assert.notEqual(one.config.cluster_id, two.config.cluster_id);
    const key = (node: typeof one) => Deno.readTextFileSync(node.paths.masterKey);
    assert.notEqual(key(one), key(two));
    for (const node of [one, two]) {
      assert.ok(node.config.storage.blobs.every((blob) => blob.startsWith(node.paths.root)));
    }
  });
});

Deno.test("making a node again changes nothing that it has, and secrets are the owner's alone", async () => {
  await temporary(async (directory) => {
    const first = await initNode(directory, { ports: { auto: true }, region: "eu-north-1" });
    assert.equal(first.created, true);
    const { paths } = first;
    const files = [
      paths.config,
      paths.masterKey,
      paths.tls.ca,
      paths.tls.cert,
      paths.nkey("compute"),
    ];
    const before = files.map((file) => Deno.readTextFileSync(file));
    const second = await initNode(directory, {});
    assert.equal(second.created, false);
    assert.deepEqual(second.config, first.config);
    assert.deepEqual(files.map((file) => Deno.readTextFileSync(file)), before);
    for (const file of [paths.masterKey, paths.tls.caKey, paths.tls.key, paths.nkey("operator")]) {
      assert.equal((Deno.statSync(file).mode ?? 0) & 0o077, 0, file);
    }
    assert.equal((Deno.statSync(directory).mode ?? 0) & 0o077, 0);
    await assert.rejects(initNode(directory, { region: "us-east-1" }), CommandError);
    const moved = await initNode(directory, { ports: { gateway: 12_345 } });
    assert.equal(moved.config.ports.gateway, 12_345);
    assert.equal(moved.config.ports.s3, first.config.ports.s3);
  });
});

Deno.test("a run that was cut off is finished by the next", async () => {
  await temporary(async (directory) => {
    const { paths } = await initNode(directory, { ports: { auto: true } });
    const kept = Deno.readTextFileSync(paths.nkey("gateway"));
    for (const gone of [paths.tls.cert, paths.masterKey, paths.natsConfig, paths.nkey("compute")]) {
      Deno.removeSync(gone);
    }
    await initNode(directory, {});
    for (const back of [paths.tls.cert, paths.masterKey, paths.natsConfig, paths.nkey("compute")]) {
      assert.ok(Deno.statSync(back).isFile, back);
    }
    assert.equal(Deno.readTextFileSync(paths.nkey("gateway")), kept);
  });
});

Deno.test("a directory of objects that is away does not keep a node down that is there", async () => {
  await temporary(async (directory) => {
    const away = join(directory, "disk", "blobs");
    const at = join(directory, "node");
    await initNode(at, { ports: { auto: true }, storage: { blobs: [away] } });
    await Deno.remove(join(directory, "disk"), { recursive: true });
    await Deno.writeTextFile(join(directory, "disk"), "not a directory any more");
    assert.deepEqual((await initNode(at, {})).config.storage.blobs, [away]);
    await Deno.remove(join(directory, "disk"));
    await initNode(at, {});
    assert.ok(Deno.statSync(away).isDirectory);
  });
});

Deno.test("a port that somebody holds is named, with its holder and the option", async () => {
  await temporary(async (directory) => {
    using held = Deno.listen({ hostname: "127.0.0.1", port: 0 });
    const { config } = await initNode(directory, {
      ports: { auto: true, gateway: held.addr.port },
    });
    assert.throws(() => requirePorts(config), (error: Error) => {
      assert.ok(error instanceof CommandError);
      assert.match(
        error.message,
        new RegExp(`Port ${held.addr.port} \\(gateway\\) is already taken`),
      );
      assert.match(error.message, new RegExp(`process ${Deno.pid}`));
      assert.match(error.message, /--port N/);
      assert.equal(error.message.split("\n").length, 1);
      return true;
    });
  });
});

Deno.test("one port cannot serve two doors", () => {
  assert.throws(() => choosePorts({ gateway: 9002 }, undefined), CommandError);
});

Deno.test("a data directory too long for sockets, or with letters that settings cannot say, is refused", () => {
  assert.throws(() => requireUsableName(`/tmp/${"x".repeat(90)}`), /bytes too long/);
  assert.throws(() => requireUsableName("/tmp/a,b"), /may not contain ","/);
  requireUsableName("/home/somebody/.local/share/mulga");
});

Deno.test("the certificate is trusted by its authority alone, names this machine, and is renewed in time", async () => {
  await temporary(async (directory) => {
    const paths = pathsOf(directory);
    Deno.mkdirSync(join(directory, "tls"));
    const names = ["localhost", "127.0.0.1", "::1", "FD00:0::2"];
    const day = 86_400_000;
    const now = Date.now();
    assert.equal(await ensureCertificates(paths, names, now), true);
    assert.equal(await ensureCertificates(paths, names, now), false);
    const authority = new x509.X509Certificate(Deno.readTextFileSync(paths.tls.ca));
    const read = () => new x509.X509Certificate(Deno.readTextFileSync(paths.tls.cert));
    const first = read();
    assert.ok(await first.verify({ publicKey: authority.publicKey }));
    assert.ok(authority.notAfter.getTime() - now > 9 * 365 * day);

    assert.equal(
      await ensureCertificates(paths, names, first.notAfter.getTime() - 31 * day),
      false,
    );
    assert.equal(await ensureCertificates(paths, names, first.notAfter.getTime() - 29 * day), true);
    assert.notEqual(read().serialNumber, first.serialNumber);
    assert.equal(await ensureCertificates(paths, [...names, "new-name"], now), true);
    assert.ok(await read().verify({ publicKey: authority.publicKey }), "the authority stayed");
    // A key that does not belong to it, as a crash between two writes leaves.
    Deno.copyFileSync(paths.tls.caKey, paths.tls.key);
    assert.equal(await ensureCertificates(paths, names, now), true);
  });
});

Deno.test("a client that trusts the authority, and only it, reaches the server", async () => {
  await temporary(async (directory) => {
    const { paths } = await initNode(directory, { ports: { auto: true } });
    const server = Deno.serve({
      hostname: "127.0.0.1",
      port: 0,
      cert: Deno.readTextFileSync(paths.tls.cert),
      key: Deno.readTextFileSync(paths.tls.key),
      onListen: () => {},
    }, () => new Response("hello"));
    try {
      const url = `https://localhost:${server.addr.port}/`;
      using client = Deno.createHttpClient({ caCerts: [Deno.readTextFileSync(paths.tls.ca)] });
      assert.equal(await (await fetch(url, { client })).text(), "hello");
      await assert.rejects(fetch(url));
    } finally {
      await server.shutdown();
    }
  });
});

Deno.test("a node whose state is newer than this release is refused before anything is touched", async () => {
  const dataDir = await Deno.makeTempDir();
  try {
    await initNode(dataDir, { ports: { auto: true } });
    const stamp = JSON.parse(await Deno.readTextFile(`${dataDir}/formats.json`));
    stamp.release = "99.0.0";
    stamp.formats.volume_log = 99;
    await Deno.writeTextFile(`${dataDir}/formats.json`, JSON.stringify(stamp));
    await Deno.remove(`${dataDir}/nats/nats.conf`);
    await assert.rejects(initNode(dataDir, { ports: { auto: true } }), /99\.0\.0/);
    await assert.rejects(Deno.stat(`${dataDir}/nats/nats.conf`), Deno.errors.NotFound);
  } finally {
    await Deno.remove(dataDir, { recursive: true });
  }
});
