/** A node's state saved from the running bus, purged, put back: every record with its revision. */
import assert from "node:assert/strict";
import { join } from "node:path";
import { Bus } from "../../services/bus/bus.ts";
import { pathsOf } from "../../services/config/node_config.ts";
import { parseMasterKeys } from "../../services/identity/credentials/master_key.ts";
import { Table } from "../../services/state/table.ts";
import { makeBackup, openBackup } from "../../tasks/hive/backup/backup.ts";
import { placeOf } from "../../tasks/hive/backup/place.ts";
import { finishRestore, restore } from "../../tasks/hive/backup/restore.ts";
import { generateRecoveryKey } from "../../tasks/hive/backup/seal.ts";
import { initNode } from "../../tasks/init/init.ts";
import { placeNatsServer } from "../../tasks/setup/nats_server.ts";
import { natsGreets } from "../../tasks/supervisor/health_probe.ts";
import { freePort, testLog } from "../kit/nats.ts";
import { startNode, type TestNode } from "../kit/node.ts";
import { until } from "../kit/until.ts";

const passphrase = "a passphrase of the test";
const lock = { kind: "passphrase", passphrase } as const;
const opener = { passphrase: () => Promise.resolve(passphrase) };
const noS3 = () => Promise.reject(new Error("no S3 here"));
const quiet = { overwrite: false, progress: () => {} };

interface Item {
  readonly name: string;
  readonly n: number;
}

/** Rows in the buckets of several services, some of them written over and deleted. */
async function fill(node: TestNode): Promise<Map<string, unknown>> {
  const seen = new Map<string, unknown>();
  const owners = [["identity", "iam_users"], ["identity", "iam_keys"], [
    "compute",
    "ec2_instances",
  ], ["viperblock", "ebs_volumes"]] as const;
  for (const [owner, bucket] of owners) {
    await using table = await Table.open<Item>(await node.bus(owner), bucket, testLog);
    for (let n = 0; n < 40; n++) await table.create(`1.row-${n}`, { name: `${bucket} ${n}`, n });
    for (let n = 0; n < 40; n += 3) await table.modify(`1.row-${n}`, () => ({ name: "again", n }));
    for (let n = 0; n < 40; n += 7) await table.delete(`1.row-${n}`);
    for (const row of table.list()) seen.set(`${bucket}/${row.key}`, row);
  }
  return seen;
}

async function rowsOf(bus: Bus): Promise<Map<string, unknown>> {
  const seen = new Map<string, unknown>();
  for (const bucket of ["iam_users", "iam_keys", "ec2_instances", "ebs_volumes"]) {
    await using table = await Table.open<Item>(bus, bucket, testLog);
    for (const row of table.list()) seen.set(`${bucket}/${row.key}`, row);
  }
  return seen;
}

/** The rows of a data directory whose node does not run, by a server with the node's own settings. */
async function rowsAt(dataDir: string): Promise<Map<string, unknown>> {
  // The node that it was saved from may still hold its ports.
  const ports = { gateway: freePort(), s3: freePort(), nats: freePort() };
  const { config, paths } = await initNode(dataDir, { ports });
  const server = new Deno.Command(join(paths.bin, "nats-server"), {
    args: ["-c", paths.natsConfig],
    stdout: "null",
    stderr: "null",
  }).spawn();
  try {
    await until("nats-server answers", () => natsGreets(config.ports.nats));
    const seen = new Map<string, unknown>();
    const owners = [
      ["identity", "iam_users"],
      ["identity", "iam_keys"],
      ["compute", "ec2_instances"],
      ["viperblock", "ebs_volumes"],
    ] as const;
    for (const [owner, bucket] of owners) {
      await using bus = await Bus.connect({
        service: owner,
        url: `nats://127.0.0.1:${config.ports.nats}`,
        seed: await Deno.readFile(paths.nkey(owner)),
        log: testLog,
      });
      await using table = await Table.open<Item>(bus, bucket, testLog);
      for (const row of table.list()) seen.set(`${bucket}/${row.key}`, row);
    }
    return seen;
  } finally {
    server.kill("SIGTERM");
    await server.status;
  }
}

/** A data directory with nothing but the program of the state store. */
async function freshMachine() {
  const directory = await Deno.makeTempDir({ prefix: "mulga-fresh-" });
  const data = join(directory, "data");
  const paths = pathsOf(data);
  await Deno.mkdir(paths.bin, { recursive: true });
  await placeNatsServer(paths);
  return {
    data,
    paths,
    [Symbol.asyncDispose]: () => Deno.remove(directory, { recursive: true }),
  };
}

Deno.test("a backup of a running node restores every record and revision onto a fresh machine", async () => {
  await using node = await startNode();
  const before = await fill(node);
  const file = join(node.paths.root, "state.backup");
  const place = await placeOf(file, noS3);
  const { manifest } = await makeBackup(node, place, lock, () => {});
  assert.ok(manifest.one_moment);
  assert.ok(manifest.streams.some((stream) => stream.name === "KV_iam_users"));
  assert.equal((await Deno.stat(file)).mode ?? 0 & 0o077, (await Deno.stat(file)).mode ?? 0);
  // Nothing of it can be read without the passphrase.
  const raw = new TextDecoder("latin1").decode(await Deno.readFile(file));
  const master = (await Deno.readTextFile(node.paths.masterKey)).trim();
  for (const secret of [master, "iam_users", "PRIVATE KEY", node.config.node_id]) {
    assert.ok(!raw.includes(secret), secret);
  }
  const content = await openBackup(place, opener);
  await using fresh = await freshMachine();
  await restore(content, fresh.paths, quiet);
  assert.deepEqual(await rowsAt(fresh.data), before, "every row with its revision");
  const config = JSON.parse(await Deno.readTextFile(fresh.paths.config));
  assert.equal(config.node_id, node.config.node_id);
  assert.equal(config.cluster_id, node.config.cluster_id);
  assert.equal(config.data_dir, fresh.data);
  assert.ok(config.storage.blobs.every((path: string) => path.startsWith(fresh.data)));
  assert.equal((await Deno.readTextFile(fresh.paths.masterKey)).trim(), master);
  parseMasterKeys(await Deno.readTextFile(fresh.paths.masterKey), fresh.paths.masterKey);
  assert.equal(
    await Deno.readTextFile(fresh.paths.tls.ca),
    await Deno.readTextFile(node.paths.tls.ca),
    "clients go on trusting it",
  );
  assert.equal((await Deno.stat(fresh.paths.masterKey)).mode! & 0o777, 0o600);
  // It is a node now: another restore is refused, and changes nothing.
  await assert.rejects(restore(content, fresh.paths, quiet), /holds node .* --overwrite/);
  assert.deepEqual(await rowsAt(fresh.data), before);
});

Deno.test("a restore over a node that has state happens only when told, and never while it runs", async () => {
  await using node = await startNode();
  const before = await fill(node);
  const place = await placeOf(join(node.paths.root, "state.backup"), noS3);
  await makeBackup(node, place, lock, () => {});
  const content = await openBackup(place, opener);
  await assert.rejects(
    restore(content, node.paths, { ...quiet, overwrite: true }),
    /is running .* Stop it first/,
  );
  assert.deepEqual(await rowsOf(await node.bus("identity")).catch(() => before), before);
  await using other = await freshMachine();
  const { config } = await initNode(other.data, { ports: { auto: true } });
  const caBefore = await Deno.readTextFile(other.paths.tls.ca);
  await assert.rejects(restore(content, other.paths, quiet), /--overwrite/);
  assert.equal(await Deno.readTextFile(other.paths.tls.ca), caBefore);
  await restore(content, other.paths, { ...quiet, overwrite: true });
  const restored = JSON.parse(await Deno.readTextFile(other.paths.config));
  assert.deepEqual(restored.ports, config.ports, "ports are the machine's own");
  assert.deepEqual(await rowsAt(other.data), before);
});

Deno.test("a stopped node can be saved too, and for a recovery key that it does not have", async () => {
  await using fresh = await freshMachine();
  await using node = await startNode();
  const before = await fill(node);
  const place = await placeOf(join(node.paths.root, "state.backup"), noS3);
  await makeBackup(node, place, lock, () => {});
  await restore(await openBackup(place, opener), fresh.paths, quiet);
  const { config, paths } = await initNode(fresh.data, { ports: { auto: true } });
  const { publicKey, privateKey } = await generateRecoveryKey();
  const second = await placeOf(join(fresh.data, "second.backup"), noS3);
  await makeBackup({ config, paths }, second, { kind: "recipient", publicKey }, () => {});
  await assert.rejects(openBackup(second, opener), /--recovery-key/);
  const content = await openBackup(second, { privateKey: () => Promise.resolve(privateKey) });
  await using third = await freshMachine();
  await restore(content, third.paths, quiet);
  assert.deepEqual(await rowsAt(third.data), before);
});

Deno.test("a restore that is cut off at any step leaves the old node or the whole new one", async () => {
  await using node = await startNode();
  const before = await fill(node);
  const place = await placeOf(join(node.paths.root, "state.backup"), noS3);
  await makeBackup(node, place, lock, () => {});
  const content = await openBackup(place, opener);
  const steps: string[] = [];
  {
    await using machine = await freshMachine();
    await restore(content, machine.paths, { ...quiet, onStep: (step) => steps.push(step) });
  }
  assert.ok(steps.length >= 8, steps.join());
  for (const stop of steps) {
    await using machine = await freshMachine();
    const old = await initNode(machine.data, { ports: { auto: true } });
    const cut = restore(content, machine.paths, {
      ...quiet,
      overwrite: true,
      onStep: (step) => {
        if (step === stop) throw new Error("power cut");
      },
    });
    await assert.rejects(cut, /power cut/);
    const journalled = steps.indexOf(stop) >= steps.indexOf("swap");
    // The next start finishes what was begun, or finds what was there.
    const { config } = await initNode(machine.data);
    const rows = /swap (nats|config)/.test(stop);
    assert.equal(
      config.node_id,
      journalled ? node.config.node_id : old.config.node_id,
      `cut at ${stop}`,
    );
    assert.equal(await finishRestore(machine.paths), false);
    if (rows) assert.deepEqual(await rowsAt(machine.data), before, stop);
    for (const left of ["restore", "restore.json"]) {
      await assert.rejects(Deno.stat(join(machine.data, left)), Deno.errors.NotFound);
    }
  }
});

Deno.test("a backup that is damaged, of a newer state, or of something else is refused untouched", async () => {
  await using node = await startNode();
  await fill(node);
  const file = join(node.paths.root, "state.backup");
  const place = await placeOf(file, noS3);
  await makeBackup(node, place, lock, () => {});
  await using fresh = await freshMachine();
  const content = await openBackup(place, opener);
  const stamp = { v: 1, release: "99.0.0", formats: { volume_log: 99 } } as const;
  await assert.rejects(
    restore({ ...content, manifest: { ...content.manifest, stamp } }, fresh.paths, quiet),
    /99\.0\.0/,
  );
  const whole = await Deno.readFile(file);
  for (const bytes of [whole.slice(0, -1), whole.slice(0, 5_000), new Uint8Array(0)]) {
    await Deno.writeFile(file, bytes);
    await assert.rejects(openBackup(place, opener), /does not open|no backup/);
  }
  await assert.rejects(
    openBackup(await placeOf("/nowhere.backup", noS3), opener),
    /cannot be read/,
  );
  await assert.rejects(placeOf("/nowhere/x", noS3), /no folder/);
  await assert.rejects(placeOf("s3://bucket", noS3), /no object/);
  await assert.rejects(Deno.stat(fresh.paths.config), Deno.errors.NotFound);
  // A stream that does not come out as it was saved stops the restore before anything changed.
  const [first, ...others] = content.streams;
  assert.ok(first);
  const short = { ...first, data: first.data.slice(0, first.data.length >> 1) };
  await assert.rejects(restore({ ...content, streams: [short, ...others] }, fresh.paths, quiet));
  await assert.rejects(Deno.stat(fresh.paths.config), Deno.errors.NotFound);
  await assert.rejects(Deno.stat(join(fresh.data, "restore")), Deno.errors.NotFound);
});
