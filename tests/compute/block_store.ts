/**
 * A block store for compute's tests: volumes are sparse files, served to QEMU by qemu-nbd on the
 * sockets that compute expects. It answers the questions of viperblock's contract and can be told to
 * fail, to be away, and to lose its servers.
 */
import { join } from "node:path";
import { AwsError } from "../../services/aws/errors.ts";
import type { Bus } from "../../services/bus/bus.ts";
import type { Paths } from "../../services/config/node_config.ts";
import {
  blockCapacity,
  type BlockVolume,
  createSnapshot,
  createVolume,
  deleteVolume,
  describeSnapshot,
  mountVolume,
  resizeVolume,
  unmountVolume,
} from "../../services/viperblock/contract.ts";
import { untilListening } from "../kit/listening.ts";

const missing = (id: string) =>
  new AwsError("InvalidVolume.NotFound", `The volume '${id}' does not exist.`);

/** In a moment, as a snapshot is: a guest may stand still for it. */
async function copySparse(from: string, to: string): Promise<void> {
  const { success } = await new Deno.Command("cp", {
    args: ["--reflink=auto", "--sparse=always", from, to],
  }).output();
  if (!success) throw new Error(`${from} was not copied`);
}

export class FileBlockStore implements AsyncDisposable {
  readonly #servers = new Map<string, Deno.ChildProcess>();
  readonly sizes = new Map<string, number>();
  /** Files with what volumes held when they were frozen, by the snapshot's id. */
  readonly frozen = new Map<string, { readonly volume_id: string; readonly file: string }>();
  /** Names of subjects that answer with an error of this code from now on. */
  readonly failing = new Map<string, { code: string; status: number }>();
  /** The name under which a volume is exported; a test may break it. */
  exportName: (volumeId: string) => string = (volumeId) => volumeId;
  available_bytes = 1000 * 2 ** 30;

  constructor(
    readonly bus: Bus,
    readonly paths: Paths,
    readonly directory: string,
    /** Snapshot id to a raw file. */
    readonly snapshots: ReadonlyMap<string, string>,
  ) {
    const fail = (name: string) => {
      const failure = this.failing.get(name);
      if (failure !== undefined) {
        throw new AwsError(failure.code, `${name} fails on purpose`, { status: failure.status });
      }
    };
    bus.answer(createVolume, async (input) => {
      fail(createVolume.name);
      return await this.create(input.volume_id, input.size_bytes, input.snapshot_id);
    });
    bus.answer(deleteVolume, async ({ volume_id }) => {
      fail(deleteVolume.name);
      if (!this.sizes.has(volume_id)) throw missing(volume_id);
      if (this.#servers.has(volume_id)) throw new AwsError("VolumeInUse", "It is mounted.");
      this.sizes.delete(volume_id);
      await Deno.remove(this.file(volume_id));
      return null;
    });
    bus.answer(mountVolume, async ({ volume_id }) => {
      fail(mountVolume.name);
      const size_bytes = this.sizes.get(volume_id);
      if (size_bytes === undefined) throw missing(volume_id);
      await this.serve(volume_id);
      return { socket: paths.nbd(volume_id), size_bytes };
    });
    bus.answer(unmountVolume, async ({ volume_id }) => {
      fail(unmountVolume.name);
      if (!this.sizes.has(volume_id)) throw missing(volume_id);
      await this.unserve(volume_id);
      return null;
    });
    bus.answer(resizeVolume, async ({ volume_id, size_bytes }) => {
      fail(resizeVolume.name);
      if (!this.sizes.has(volume_id)) throw missing(volume_id);
      await Deno.truncate(this.file(volume_id), size_bytes);
      this.sizes.set(volume_id, size_bytes);
      // A server of this kind knows its size from the start.
      if (this.#servers.has(volume_id)) {
        await this.unserve(volume_id);
        await this.serve(volume_id);
      }
      return { volume_id, size_bytes, epoch: 1 };
    });
    const described = (snapshot_id: string) => {
      const { volume_id } = this.frozen.get(snapshot_id) ?? {};
      if (volume_id === undefined) {
        throw new AwsError("InvalidSnapshot.NotFound", `No snapshot ${snapshot_id}.`);
      }
      return {
        snapshot_id,
        volume_id,
        size_bytes: this.sizes.get(volume_id) ?? 0,
        stored_bytes: 0,
      };
    };
    bus.answer(createSnapshot, async ({ volume_id, snapshot_id }) => {
      fail(createSnapshot.name);
      if (!this.sizes.has(volume_id)) throw missing(volume_id);
      if (!this.frozen.has(snapshot_id)) {
        const file = this.file(snapshot_id);
        await copySparse(this.file(volume_id), file);
        this.frozen.set(snapshot_id, { volume_id, file });
      }
      return described(snapshot_id);
    });
    bus.answer(describeSnapshot, ({ snapshot_id }) => described(snapshot_id));
    bus.answer(blockCapacity, () => ({
      available_bytes: this.available_bytes,
      total_bytes: this.available_bytes,
      provisioned_bytes: 0,
    }));
  }

  file(volumeId: string): string {
    return join(this.directory, `${volumeId}.raw`);
  }

  get mounted(): readonly string[] {
    return [...this.#servers.keys()];
  }

  async create(volume_id: string, size_bytes: number, snapshot_id?: string): Promise<BlockVolume> {
    if (!this.sizes.has(volume_id)) {
      if (snapshot_id !== undefined) {
        const source = this.snapshots.get(snapshot_id);
        if (source === undefined) {
          throw new AwsError("InvalidSnapshot.NotFound", `No snapshot ${snapshot_id}.`);
        }
        await Deno.copyFile(source, this.file(volume_id));
        await Deno.chmod(this.file(volume_id), 0o600);
      } else {
        await Deno.writeFile(this.file(volume_id), new Uint8Array());
      }
      await Deno.truncate(this.file(volume_id), size_bytes);
      this.sizes.set(volume_id, size_bytes);
    }
    return { volume_id, size_bytes, epoch: 1 };
  }

  async serve(volumeId: string): Promise<void> {
    if (this.#servers.has(volumeId)) return;
    const socket = this.paths.nbd(volumeId);
    await Deno.remove(socket).catch(() => {});
    const server = new Deno.Command("qemu-nbd", {
      args: [
        ...[
          "-k",
          socket,
          "-x",
          this.exportName(volumeId),
          "-f",
          "raw",
          "-t",
          "--shared=2",
          "--cache=writeback",
        ],
        ...["--discard=unmap", this.file(volumeId)],
      ],
      stdin: "null",
      stdout: "null",
      stderr: "inherit",
    }).spawn();
    this.#servers.set(volumeId, server);
    await untilListening(socket);
  }

  async unserve(volumeId: string): Promise<void> {
    const server = this.#servers.get(volumeId);
    if (server === undefined) return;
    this.#servers.delete(volumeId);
    server.kill("SIGTERM");
    await server.status;
  }

  /** Kills every server, as a crash of the block service would, and says which volumes it served. */
  async crash(): Promise<readonly string[]> {
    const served = [...this.#servers];
    this.#servers.clear();
    for (const [, server] of served) {
      server.kill("SIGKILL");
      await server.status;
    }
    return served.map(([volumeId]) => volumeId);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.crash();
  }
}
