/** Mounts of a node whose tables hold one volume's row, and go away or change as a test wants. */
import { createLog } from "../../services/log/log.ts";
import { unavailable } from "../../services/aws/errors.ts";
import { Mounts } from "../../services/viperblock/mounts/mounts.ts";
import type { MountsOptions } from "../../services/viperblock/mounts/mounts_options.ts";
import type { BlockStore } from "../../services/viperblock/maps/map_objects.ts";
import type { VolumeRow } from "../../services/viperblock/records.ts";
import { directoryStore } from "./bare_engine.ts";

export const volume_id = "vol-row";

export interface OneRow extends AsyncDisposable {
  row: VolumeRow;
  /** The tables take no change. */
  isAway: boolean;
  /** Hears of each change, and may make another. */
  changed: () => void;
  /** Hears when the row is read, and may refuse it. */
  reading: () => void;
  /** Hears of each update before it is taken, and may refuse it. */
  updating: () => void;
  readonly mounts: Mounts;
  readonly socket: string;
  /** Where the volumes' directories are. */
  readonly volumes: string;
  /** Files of the volume's log that this process has open. */
  openLogs(): number;
}

/**
 * @param through what stands before the object store
 * @param lines hears of what is logged
 * @param options.on the directory of its disk
 */
export async function startOneRow(
  through: (store: BlockStore) => BlockStore = (store) => store,
  lines: { write(line: string): void } = { write: () => {} },
  options: Pick<MountsOptions, "readAgainMs" | "startPatienceMs" | "stopPatienceMs"> & {
    readonly on?: string;
  } = {},
): Promise<OneRow> {
  const { on = "/var/tmp", ...also } = options;
  const directory = await Deno.makeTempDir({ prefix: "mulga-row-", dir: on });
  let revision = 1;
  const written = (value: VolumeRow) => {
    if (world.isAway) throw unavailable("The state store");
    world.row = value;
    revision++;
    const row = read();
    world.changed();
    return row;
  };
  const read = () => ({ key: volume_id, value: world.row, revision, bytes: 0 });
  const mounts = new Mounts({
    nodeId: "node-1",
    directory: `${directory}/volumes`,
    socket: () => `${directory}/socket`,
    tables: {
      volumes: {
        watch: () => () => {},
        list: () => [read()],
        get: read,
        // deno-lint-ignore require-await
        read: async () => {
          world.reading();
          return read();
        },
        // deno-lint-ignore require-await
        update: async (_key: string, value: VolumeRow) => {
          world.updating();
          return written(value);
        },
        // deno-lint-ignore require-await
        modify: async (_key: string, change: (value: VolumeRow) => VolumeRow) =>
          written(change(world.row)),
      },
      snapshots: { list: () => [] },
    },
    store: through(directoryStore(`${directory}/objects`)),
    keyOf: () => Promise.reject(new Error("it is not encrypted")),
    log: createLog("test", lines),
    reserveBytes: 0,
    cacheBytes: () => 16 << 20,
    ...also,
  } as unknown as MountsOptions);
  const world: OneRow = {
    row: { volume_id, size_bytes: 16 << 20, epoch: 0, state: "ok" },
    isAway: false,
    changed: () => {},
    reading: () => {},
    updating: () => {},
    mounts,
    socket: `${directory}/socket`,
    volumes: `${directory}/volumes`,
    openLogs: () =>
      [...Deno.readDirSync("/proc/self/fd")].filter(({ name }) => {
        try {
          return Deno.readLinkSync(`/proc/self/fd/${name}`).startsWith(
            `${directory}/volumes/${volume_id}/log-`,
          );
        } catch {
          // Closed by now.
          return false;
        }
      }).length,
    async [Symbol.asyncDispose]() {
      await mounts.stop();
      await Deno.remove(directory, { recursive: true });
    },
  };
  await Deno.mkdir(`${directory}/volumes`);
  await Deno.mkdir(`${directory}/objects`);
  return world;
}
