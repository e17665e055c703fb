/** An object store in which puts land late, beneath the real tables and whoever writes there without a mount. */
import { EncryptedCopies } from "../../services/viperblock/encrypted_copies.ts";
import { DirectAccess } from "../../services/viperblock/direct/direct_access.ts";
import { KeyRing } from "../../services/viperblock/encryption/key_ring.ts";
import { SealedObjects } from "../../services/viperblock/encryption/sealed_objects.ts";
import type { BlockStore } from "../../services/viperblock/maps/map_objects.ts";
import { Mounts } from "../../services/viperblock/mounts/mounts.ts";
import { openTables } from "../../services/viperblock/records.ts";
import { References } from "../../services/viperblock/references.ts";
import { Snapshots } from "../../services/viperblock/snapshots.ts";
import { Volumes } from "../../services/viperblock/volumes.ts";
import { startNats, testLog } from "../kit/nats.ts";

/** Puts of keys that begin so do not land, and whoever asked hears nothing, until they are let go. */
export class LateStore implements BlockStore {
  readonly objects = new Map<string, Uint8Array<ArrayBuffer>>();
  readonly held: { readonly land: () => void; readonly fail: () => void }[] = [];
  holds: string | undefined;

  async put(key: string, body: Uint8Array<ArrayBuffer>): Promise<void> {
    const copy = body.slice();
    const land = () => void this.objects.set(key, copy);
    if (this.holds === undefined || !key.startsWith(this.holds)) return land();
    const { promise, resolve, reject } = Promise.withResolvers<void>();
    this.held.push({
      land: () => resolve(land()),
      fail: () => reject(new Error("the store does not answer")),
    });
    await promise;
  }

  get(key: string, range?: { readonly offset: number; readonly length: number }) {
    const { offset, length } = range ?? { offset: 0, length: Infinity };
    return Promise.resolve(this.objects.get(key)?.slice(offset, offset + length));
  }

  delete(key: string): Promise<void> {
    return Promise.resolve(void this.objects.delete(key));
  }

  async *list(prefix: string) {
    yield* [...this.objects.keys()].filter((key) => key.startsWith(prefix)).sort();
  }
}

/** The parts of an engine that make and write snapshots and volumes without mounting any. */
export async function startLateWorld(patience: { readonly namePatienceMs?: number } = {}) {
  const nats = await startNats();
  const tables = await openTables(await nats.bus("viperblock"), testLog);
  const late = new LateStore();
  const log = testLog;
  const directory = await Deno.makeTempDir({ prefix: "mulga-late-" });
  await Deno.writeTextFile(
    `${directory}/volume.keys`,
    `${new Uint8Array(32).fill(1).toBase64()}\n`,
  );
  const keys = new KeyRing(tables.keys, `${directory}/volume.keys`, log);
  const keyOf = (volumeId: string) => keys.require(volumeId);
  const store = new SealedObjects(late, keys);
  const mounts = new Mounts({
    nodeId: "node-1",
    directory,
    socket: (id) => `${directory}/${id}`,
    tables,
    store,
    keyOf,
    log,
    reserveBytes: 0,
    cacheBytes: () => 0,
  });
  const references = new References({ tables, store, mounts, keys, log });
  const copies = new EncryptedCopies({
    store,
    keys,
    log,
    references,
    firstPauseMs: 1,
    ...patience,
  });
  const snapshots = new Snapshots({ tables, mounts, log, references, copies });
  const volumes = new Volumes({
    tables,
    mounts,
    log,
    references,
    copies,
    isFast: () => false,
    availableBytes: () => 1 << 30,
  });
  return {
    late,
    store,
    tables,
    volumes,
    snapshots,
    /** As the next process of the engine has it: nothing in memory. */
    process: () => new DirectAccess({ tables, store, volumes, snapshots, keyOf }),
    /** The same on another node, whose copy of the table of keys has heard of nothing yet. */
    elsewhere() {
      const { keys: table } = tables;
      const behind = new KeyRing(
        {
          get: () => undefined,
          list: () => [],
          read: (id) => table.read(id),
          create: (id, value) => table.create(id, value),
          update: (id, value, revision) => table.update(id, value, revision),
          delete: (id) => table.delete(id),
        },
        `${directory}/volume.keys`,
        log,
      );
      return behind.load().then(() =>
        new DirectAccess({
          tables,
          store: new SealedObjects(late, behind),
          volumes,
          snapshots,
          keyOf: (id) => behind.require(id),
        })
      );
    },
    copies,
    async [Symbol.asyncDispose]() {
      await mounts.stop();
      await tables[Symbol.asyncDispose]();
      await nats[Symbol.asyncDispose]();
      await Deno.remove(directory, { recursive: true });
    },
  };
}

/** Asks for an encrypted copy of the plain snapshot `snap-plain`: the volume `vol-1` or the snapshot `snap-1`. */
export function encryptedCopy(
  { volumes, snapshots }: Awaited<ReturnType<typeof startLateWorld>>,
  what: "volume" | "snapshot",
  size_bytes: number,
): Promise<unknown> {
  if (what === "snapshot") return snapshots.copy("snap-plain", "snap-1", true);
  return volumes.create({
    volume_id: "vol-1",
    size_bytes,
    snapshot_id: "snap-plain",
    encrypted: true,
  });
}
