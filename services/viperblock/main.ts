/**
 * viperblock: volumes as log-structured disks, served through guests' rings and over NBD on Unix sockets.
 *
 * The main thread is the control plane and the engine's way to the object store; every mounted volume
 * has a worker of its own. Only one engine may run on a data directory: a lock says so.
 */
import { dirname, join } from "node:path";
import { openFile, openFlags, tryLockFile } from "../../ffi/libc.ts";
import { onNode } from "../bus/subject.ts";
import { errorFields } from "../log/log.ts";
import { ObjectStore, systemBuckets } from "../predastore/contract.ts";
import { runService } from "../runtime/run_service.ts";
import {
  type BlockCapacity,
  blockCapacity,
  checkVolume,
  copySnapshot,
  createSnapshot,
  createVolume,
  deleteSnapshot,
  deleteVolume,
  describeFastRestore,
  describeSnapshot,
  describeVolume,
  listSnapshots,
  mountVolume,
  resizeVolume,
  rewrapKeys,
  setFastRestore,
  unmountVolume,
  volumeMetrics,
  volumeSync,
} from "./contract.ts";
import { checkStored } from "./check.ts";
import { EncryptedCopies } from "./encrypted_copies.ts";
import { NodeSpace } from "./node_space.ts";
import { KeyRing } from "./encryption/key_ring.ts";
import { SealedObjects } from "./encryption/sealed_objects.ts";
import { FastRestores } from "./fast_restore/fast_restores.ts";
import { KeptObjects } from "./fast_restore/kept_objects.ts";
import { answerDirect } from "./direct/direct_answers.ts";
import { DirectAccess } from "./direct/direct_access.ts";
import { Mounts } from "./mounts/mounts.ts";
import { cacheFiles, logFiles, readCacheBytes } from "./node_sizes.ts";
import { PackedChunks } from "./chunks/packed_chunks.ts";
import { checkVolumeId, openTables } from "./records.ts";
import { RemoteDoor } from "./remote/remote_door.ts";
import { References } from "./references.ts";
import { Snapshots } from "./snapshots.ts";
import { Volumes } from "./volumes.ts";

/** How often what is kept of chunks is held against the room that there is. */
const sharingMs = 10_000;

await runService("viperblock", async (service) => {
  const { bus, config, log, paths } = service;
  const home = paths.service("viperblock");
  const directory = join(home, "volumes");
  await Deno.mkdir(directory, { recursive: true, mode: 0o700 });
  await Deno.mkdir(dirname(paths.nbd("any")), { recursive: true });
  const lock = openFile(join(home, "lock"), openFlags.readWrite | openFlags.create, 0o600);
  if (!tryLockFile(lock)) throw new Error(`another engine is running on ${home}`);

  const space = new NodeSpace({ directory, reserveBytes: config.storage.reserve_bytes, log });
  const room = () => {
    const { total_bytes, available_bytes } = space.bytes;
    return { total_bytes, available_bytes: available_bytes + mounts.cacheShares.keptBytes };
  };
  const capacity = (): Omit<BlockCapacity, "provisioned_bytes"> => {
    const { total_bytes, available_bytes } = room();
    return { total_bytes, available_bytes: Math.max(0, available_bytes) };
  };
  const objects = new ObjectStore(paths.s3System, systemBuckets.blocks);
  const tables = await openTables(bus, log);
  const keys = new KeyRing(tables.keys, paths.volumeKeys, log);
  await keys.load();
  const keyOf = (volumeId: string) => keys.require(volumeId);
  const kept = await KeptObjects.open(objects, join(home, "restores"), log);
  const store = new PackedChunks(new SealedObjects(kept, keys));
  const mounts = new Mounts({
    nodeId: config.node_id,
    directory,
    socket: paths.nbd,
    vhostSocket: paths.vhost,
    tables,
    store,
    keyOf,
    log,
    reserveBytes: config.storage.reserve_bytes,
    cacheBytes: (mounted) => readCacheBytes(Deno.systemMemoryInfo().total, mounted),
    cacheFiles: (kept_bytes, volumes) =>
      cacheFiles({
        kept_bytes,
        volumes,
        free_bytes: space.bytes.available_bytes,
        ...(config.storage.volume_cache_bytes === undefined
          ? {}
          : { wanted_bytes: config.storage.volume_cache_bytes }),
      }),
    // By the disk as it is then: one that says nothing when the service starts hinders neither it nor what is mounted later.
    get segmentBudget() {
      return logFiles(space.bytes.total_bytes);
    },
  });
  const references = new References({ tables, store, mounts, keys, log });
  const copies = new EncryptedCopies({ store, keys, log, references });
  const snapshots = new Snapshots({ tables, mounts, log, references, copies });
  const restores = new FastRestores({
    tables,
    objects: kept,
    store,
    availableBytes: () => room().available_bytes,
    log,
  });
  const volumes = new Volumes({
    tables,
    mounts,
    log,
    references,
    copies,
    isFast: (snapshot) => restores.isReady(snapshot),
    availableBytes: () => capacity().available_bytes,
  });
  // Nobody tells how full the disk is: whoever fills it finds the chunks that are kept there gone soon.
  const sharing = setInterval(() => {
    mounts.cacheShares.share();
    restores.look();
  }, sharingMs);
  let remoteDoor: RemoteDoor | undefined;
  service.onStop(async () => {
    await remoteDoor?.[Symbol.asyncDispose]();
    clearInterval(sharing);
    references.stop();
    snapshots.stop();
    copies.stop();
    await restores.stop();
    await mounts.stop();
    await tables[Symbol.asyncDispose]();
    objects[Symbol.dispose]();
  });
  await snapshots.abandonPending();
  await mounts.restore();
  const remote = config.remote_volumes;
  let remoteFailure: string | undefined;
  if (remote !== undefined) {
    try {
      remoteDoor = await RemoteDoor.open({
        host: config.bind,
        port: remote.port,
        cert: await Deno.readTextFile(remote.cert),
        key: await Deno.readTextFile(remote.key),
        ca: await Deno.readTextFile(remote.ca),
        socketOf: (volumeId) => mounts.volumes.get(volumeId)?.socket,
        log,
      });
      log.info("remote_door_open", { port: remote.port });
    } catch (error) {
      // Local guests need none of it.
      const { error: text } = errorFields(error);
      remoteFailure =
        `Remote volumes are not served: ${text}. Mend "remote_volumes" in config.json.`;
      log.error("remote_door_closed", errorFields(error));
    }
  }

  bus.answer(createVolume, (request) => volumes.create(request));
  bus.answer(describeVolume, ({ volume_id }) => volumes.describe(volume_id));
  bus.answer(resizeVolume, (request) => volumes.resize(request));
  bus.answer(volumeSync, ({ volume_id, sync }) => volumes.sync(volume_id, sync));
  bus.answer(checkVolume, ({ id }) => checkStored(id, tables, mounts, store));
  bus.answer(volumeMetrics, ({ volume_id }) => volumes.metrics(volume_id));
  bus.answer(deleteVolume, ({ volume_id }) => volumes.delete(volume_id));
  bus.answer(createSnapshot, (request) => snapshots.freeze(request.volume_id, request.snapshot_id));
  const direct = new DirectAccess({ tables, store, volumes, snapshots, keyOf });
  bus.answer(
    copySnapshot,
    ({ source_id, snapshot_id, encrypted }) => snapshots.copy(source_id, snapshot_id, encrypted),
  );
  bus.answer(describeSnapshot, ({ snapshot_id }) => direct.describe(snapshot_id));
  bus.answer(deleteSnapshot, ({ snapshot_id }) => direct.delete(snapshot_id));
  bus.answer(listSnapshots, () => snapshots.list());
  bus.answer(setFastRestore, ({ snapshot_id, wanted }) => restores.set(snapshot_id, wanted));
  bus.answer(describeFastRestore, ({ snapshot_id }) => restores.describe(snapshot_id));
  bus.answer(rewrapKeys, () => keys.rewrap());
  answerDirect(bus, direct);
  // What concerns this node's disk is answered under the node's own name too.
  for (
    const [mount, unmount, space] of [
      [mountVolume, unmountVolume, blockCapacity],
      [
        onNode(config.node_id, mountVolume),
        onNode(config.node_id, unmountVolume),
        onNode(config.node_id, blockCapacity),
      ],
    ] as const
  ) {
    bus.answer(mount, ({ volume_id }) => mounts.mount(checkVolumeId(volume_id)));
    bus.answer(unmount, ({ volume_id }) => volumes.unmount(volume_id));
    bus.answer(space, () => ({ ...capacity(), provisioned_bytes: volumes.provisionedBytes }));
  }
  // Volumes are asked when somebody looks; what they answered is told the next time.
  const shown = [
    "reads",
    "writes",
    "cache_hit_ratio",
    "chunk_cache_hit_ratio",
    "space_amplification",
    "segments",
  ];
  const known: Record<string, number> = {};
  const look = async () => {
    for (const name of Object.keys(known)) {
      if (!mounts.volumes.has(name.split(".")[0] ?? "")) delete known[name];
    }
    for (const id of mounts.volumes.keys()) {
      const metrics = await mounts.metrics(id);
      for (const name of shown) known[`${id}.${name}`] = metrics?.[name] ?? 0;
    }
  };
  service.reportHealth(() => {
    look().catch((error) => log.warn("volumes_not_measured", errorFields(error)));
    const [first] = mounts.down;
    const [damaged] = mounts.damaged;
    const available_bytes = capacity().available_bytes;
    const detail = space.failure !== undefined
      ? `the disk of the volumes does not answer: ${space.failure}`
      : first !== undefined
      ? `${first[0]} is not served: ${first[1]}`
      : damaged !== undefined
      ? `${damaged[0]} can only be read: ${damaged[1]} (\`hive volume fsck ${damaged[0]}\`)`
      : remoteFailure;
    return {
      status: detail === undefined ? "ok" : "degraded",
      ...(detail === undefined ? {} : { detail }),
      facts: {
        mounted: mounts.count,
        read_only: mounts.damaged.size,
        available_bytes,
        chunk_bytes: store.chunkBytes,
        stored_chunk_bytes: store.storedBytes,
        restore_bytes: kept.bytes,
        restore_reads: kept.hits,
        ...known,
      },
    };
  });
  // The object store may still be starting; what is to be deleted can wait for the next start.
  restores.look();
  references.resume().catch((error) => log.warn("deletions_not_resumed", errorFields(error)));
});
