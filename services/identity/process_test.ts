import assert from "node:assert/strict";
import { join } from "node:path";
import { createUser } from "@nats-io/nkeys";
import { startNats, testLog, type TestNats } from "../../tests/kit/nats.ts";
import type { Bus } from "../bus/bus.ts";
import type { NodeConfig } from "../config/node_config.ts";
import { pathsOf } from "../config/node_config.ts";
import { serviceNamed } from "../manifest.ts";
import { type Health, healthOf } from "../runtime/run_service.ts";
import { adminCredentials, newMasterKey, signingKey } from "./contract.ts";
import { State } from "./state.ts";

const main = new URL("./main.ts", import.meta.url).pathname;

/** A data directory as `admin init` leaves it, for identity alone. */
async function dataDir(nats: TestNats): Promise<string> {
  const root = join(nats.directory, "data");
  const paths = pathsOf(root);
  await Deno.mkdir(join(paths.secrets, "nkeys"), { recursive: true });
  const config: NodeConfig = {
    version: 1,
    cluster_id: "c-test",
    node_id: "n-test",
    region: "eu-west-1",
    az: "eu-west-1a",
    data_dir: root,
    bind: "127.0.0.1",
    ports: { gateway: 1, s3: 1, nats: nats.port },
    profile: "test",
    storage: { blobs: [root], data_shards: 1, parity_shards: 0, reserve_bytes: 0 },
    compute: { accelerator: "tcg", cpu_overcommit: 1, reserve_memory_mib: 0 },
  };
  await Deno.writeTextFile(paths.config, JSON.stringify(config));
  await Deno.writeFile(paths.nkey("identity"), createUser().getSeed());
  await Deno.writeTextFile(paths.masterKey, newMasterKey());
  return root;
}

/** The service's own process with the permissions of the manifest, and no others. */
function start(root: string, port: number) {
  const { permissions } = serviceNamed("identity");
  const fill = (templates: readonly string[]) =>
    templates.map((text) => text.replace("{data}", root).replace("{nats}", String(port))).join(",");
  assert.equal(permissions.ffi, undefined);
  assert.equal(permissions.run, undefined);
  assert.ok(permissions.net !== undefined && permissions.net !== "any");
  return new Deno.Command(Deno.execPath(), {
    args: [
      "run",
      "--cached-only",
      "--no-prompt",
      `--allow-net=${fill(permissions.net)}`,
      `--allow-read=${fill(permissions.read ?? [])}`,
      `--allow-write=${fill(permissions.write ?? [])}`,
      `--allow-env=${fill(permissions.env ?? [])}`,
      main,
    ],
    env: { MULGA_DATA_DIR: root },
    stdin: "null",
    stdout: "piped",
    stderr: "piped",
  }).spawn();
}

/** Its health as soon as it answers; it must within ten seconds. */
async function healthy(bus: Bus): Promise<Health> {
  const limit = performance.now() + 10_000;
  for (;;) {
    try {
      return await bus.ask(healthOf("identity", "n-test"), null);
    } catch (error) {
      if (performance.now() > limit) throw error;
      await new Promise((resolve) => setTimeout(resolve, 20));
    }
  }
}

Deno.test("identity killed at any moment of its first start, twice at once, comes to one account and one key", async () => {
  await using nats = await startNats();
  const root = await dataDir(nats);
  const bus = await nats.bus("hive");
  const seed = crypto.getRandomValues(new Uint8Array(1))[0] as number;
  console.log(`seed ${seed}`);
  for (let round = 0; round < 3; round++) {
    const both = [start(root, nats.port), start(root, nats.port)];
    // The moment is drawn around the time when tables are made and filled.
    const delay_ms = 60 + ((seed + round * 37) % 120);
    await new Promise((resolve) => setTimeout(resolve, delay_ms));
    for (const process of both) {
      process.kill("SIGKILL");
      await process.output();
    }
  }
  const started = performance.now();
  const process = start(root, nats.port);
  const health = await healthy(bus);
  console.log(`ready after ${Math.round(performance.now() - started)} ms`);
  assert.equal(health.status, "ok");
  assert.deepEqual(
    [health.facts["accounts"], health.facts["users"], health.facts["access_keys"]],
    [1, 1, 1],
  );
  const admin = await bus.ask(adminCredentials, null);
  await bus.ask(signingKey, {
    access_key_id: admin.access_key_id,
    date: new Date().toISOString().slice(0, 10).replaceAll("-", ""),
    region: "eu-west-1",
    service: "sts",
  });
  process.kill("SIGTERM");
  const { code, stdout } = await process.output();
  const said = new TextDecoder().decode(stdout);
  assert.equal(code, 0, said);
  assert.match(said, /service_stopped/);
  assert.equal(said.includes(admin.secret_access_key), false, "no secret is logged");
  const ready = said.split("\n").find((line) => line.includes("service_ready")) ?? "{}";
  assert.ok(JSON.parse(ready).start_ms < 1_000, ready);
  await using state = await State.open(bus, testLog);
  assert.equal(state.accounts.list()[0]?.value.first_start?.done, true);
});

Deno.test("identity with a foreign master key says so in one line, exits with 1 and changes nothing", async () => {
  await using nats = await startNats();
  const root = await dataDir(nats);
  const bus = await nats.bus("hive");
  const first = start(root, nats.port);
  await healthy(bus);
  first.kill("SIGTERM");
  await first.output();
  await using state = await State.open(bus, testLog);
  const before = JSON.stringify(state.keys.list());
  await Deno.writeTextFile(pathsOf(root).masterKey, newMasterKey());
  const { code, stdout } = await start(root, nats.port).output();
  assert.equal(code, 1);
  assert.match(new TextDecoder().decode(stdout), /is not the one that sealed this cloud's secrets/);
  assert.equal(JSON.stringify(state.keys.list()), before);
});
