/**
 * Starts predastore: opens the store (recovering its index), makes the system's buckets, and listens on
 * the public port and on the Unix sockets.
 */
import { dirname } from "node:path";
import { mapMemoryFrom } from "../../ffi/malloc.ts";
import { setNoDelayOnListeners } from "../../ffi/tcp.ts";
import { ResourceAuthorizer } from "../aws/authorizer.ts";
import { policyShown, policyTrust } from "../identity/contract.ts";
import { SigningGrants } from "../aws/signatures/signing_grants.ts";
import { errorFields } from "../log/log.ts";
import { closeDoors } from "../runtime/close_doors.ts";
import { Crowd } from "../runtime/crowd.ts";
import { RequestsUnderWay } from "../runtime/requests_under_way.ts";
import { runService, type Service } from "../runtime/run_service.ts";
import { systemBuckets } from "./contract.ts";
import { EventTeller } from "./events.ts";
import { Operator } from "./operator/operator.ts";
import { Door } from "./s3/door.ts";
import { readSealingKeys } from "./encryption/sealing.ts";
import { Store } from "./store.ts";
import { ignoreMissing } from "../config/missing_files.ts";

const inspection_ms = 5_000;
const compaction_ms = 60_000;
const repair_ms = 5_000;
const lifecycle_ms = 3_600_000;
const scrubLook_ms = 60_000;
/** Where a disk is nearly full, segments are compacted of which more lives. */
const tightLiveLimit = 0.85;
/** Bodies go through buffers of at least this; there are many when many clients come, and none afterwards. */
const mapped_bytes = 128 * 1024;
/** Small objects that were used a moment ago are read from memory. */
const smallBodies_bytes = 32 << 20;
/** How long running requests may take to end at a stop. */
const slowestStop_ms = 15_000;

/** Listens on a Unix socket that user and group may use. */
async function serveUnix(
  path: string,
  handler: Deno.ServeHandler<Deno.UnixAddr>,
): Promise<Deno.HttpServer<Deno.UnixAddr>> {
  await Deno.mkdir(dirname(path), { recursive: true });
  await Deno.remove(path).catch(ignoreMissing);
  const server = Deno.serve({ path, handler, onListen: () => {} });
  await Deno.chmod(path, 0o660);
  return server;
}

/** Two processes on the same segments would write over each other: the second one does not start. */
async function lockStore(folder: string): Promise<Deno.FsFile> {
  await Deno.mkdir(folder, { recursive: true, mode: 0o750 });
  const path = `${folder}/lock`;
  const file = await Deno.open(path, { create: true, write: true });
  if (await file.tryLock(true)) return file;
  file.close();
  throw new Error(`Another predastore is running on this data (it holds ${path}). Stop it first.`);
}

async function start(service: Service): Promise<void> {
  mapMemoryFrom(mapped_bytes);
  const { config, paths, log } = service;
  const { storage } = config;
  const lock = await lockStore(paths.service("predastore"));
  service.onStop(() => lock.close());
  const sealing = await readSealingKeys(paths.objectKeys);
  const store = await Store.open({
    sealing,
    index: `${paths.service("predastore")}/index.db`,
    blobs: storage.blobs,
    data_shards: storage.data_shards,
    parity_shards: storage.parity_shards,
    reserve_bytes: storage.reserve_bytes,
    small_bodies_bytes: smallBodies_bytes,
    log,
    onRecovering: () => service.startGetsOn(),
  });
  service.onStop(() => store[Symbol.asyncDispose]());
  for (const name of Object.values(systemBuckets)) {
    await store.buckets.create(name, "", config.region);
  }
  const grants = new SigningGrants(service.bus);
  service.onStop(() => grants[Symbol.asyncDispose]());
  const authorizer = new ResourceAuthorizer(service.bus);
  service.onStop(() => authorizer[Symbol.asyncDispose]());
  const teller = new EventTeller(service.bus, store.index, log);
  service.onStop(() => teller[Symbol.asyncDispose]());
  const door = new Door({
    store,
    region: config.region,
    log,
    lookup: grants.lookup,
    authorize: (permission, context) => authorizer.may(permission, context),
    weigh: (permission, resource_policy, context) =>
      authorizer.decide({ ...permission, resource_policy }, context),
    policyTrust: {
      of: async (document) => (await service.bus.ask(policyTrust, { document })).trusted,
      shown: async (policy) => (await service.bus.ask(policyShown, policy)).document,
    },
  });
  service.onStop(() => door[Symbol.dispose]());

  const underWay = new RequestsUnderWay();
  const https = Deno.serve({
    hostname: config.bind,
    port: config.ports.s3,
    cert: await Deno.readTextFile(paths.tls.cert),
    key: await Deno.readTextFile(paths.tls.key),
    handler: underWay.following(door.handler("public")),
    onListen: () => {
      setNoDelayOnListeners();
    },
  });
  // Only strangers come by the public port.
  const crowd = new Crowd({ log, port: https.addr.port, underWay });
  const servers = [
    https,
    await serveUnix(paths.s3Front, underWay.following(door.handler("front"))),
    await serveUnix(paths.s3Delegate, underWay.following(door.handler("delegate"))),
    await serveUnix(paths.s3System, underWay.following(door.handler("system"))),
  ];
  service.onStop(async () => {
    door.close();
    // Whoever still uploads or downloads then is cut off; nothing half done is ever visible.
    await closeDoors({ servers, underWay, crowd, log }, slowestStop_ms);
  });

  const failed = (event: string) => (error: unknown) => log.error(event, errorFields(error));
  const timers = [
    setInterval(() => {
      store.directories.inspect().catch(failed("inspection_failed"));
    }, inspection_ms),
    setInterval(() => {
      const tight = store.directories.all.some((one) => {
        const state = store.directories.spaceOf(one)?.state;
        return state === "near_full" || state === "full";
      });
      void store.compactor.run(tight ? tightLiveLimit : undefined);
    }, compaction_ms),
    setInterval(() => {
      void store.lifecycle.run();
    }, lifecycle_ms),
    setInterval(() => {
      void store.repair.run();
    }, repair_ms),
    setInterval(() => {
      if (store.scrub.isDue()) void store.scrub.run();
    }, scrubLook_ms),
  ];
  service.onStop(() => timers.forEach(clearInterval));
  void store.lifecycle.run();

  const operator = new Operator(store, log);
  service.onStop(() => operator[Symbol.asyncDispose]());
  operator.answer(service.bus, config.node_id, () => ({ requests: door.meter.counts() }));

  service.reportHealth(() => {
    const { objects, bytes, buckets, missing } = store.index.buckets.totals();
    const { free_bytes, total_bytes } = store.directories.capacity();
    const tight = store.directories.online
      .filter((one) => store.directories.spaceOf(one)?.state !== "roomy").map(({ path }) => path);
    const scrubbed_ms = store.scrub.state().finished_ms;
    const away = store.directories.all.filter((directory) => !directory.online);
    return {
      status: away.length > 0 || missing > 0 || tight.length > 0 ? "degraded" : "ok",
      ...(away.length > 0
        ? { detail: `Storage directories are away: ${away.map(({ path }) => path).join(", ")}.` }
        : missing > 0
        ? { detail: `${missing} shards are missing and wait for repair.` }
        : tight.length > 0
        ? { detail: `Storage directories are nearly full: ${tight.join(", ")}.` }
        : {}),
      facts: {
        objects,
        bytes,
        buckets,
        free_bytes,
        total_bytes,
        degraded_shards: missing,
        degraded_reads: store.degraded_reads,
        directories: store.directories.all.length,
        directories_online: store.directories.online.length,
        code: `RS(${storage.data_shards},${storage.parity_shards})`,
        requests: door.meter.count,
        connections_ended: crowd.ended,
        shards_repaired: store.repair.shards_repaired,
        events_told: teller.told,
        events_waiting: store.index.outbox.count(),
        expired: store.lifecycle.expired,
        repair_queue: store.index.extents.countJournalled(),
        ...(scrubbed_ms === undefined ? {} : { scrub_age_ms: Date.now() - scrubbed_ms }),
        segments_compacted: store.compactor.segments_removed,
      },
    };
  });
}

if (import.meta.main) await runService("predastore", start);
