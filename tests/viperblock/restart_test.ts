/** The engine goes away and comes back; so do predastore and single workers. Clients lose nothing. */
import assert from "node:assert/strict";
import { closeFile, openFile, openFlags } from "../../ffi/libc.ts";
import { AwsError } from "../../services/aws/errors.ts";
import {
  createVolume,
  describeVolume,
  mountVolume,
  unmountVolume,
} from "../../services/viperblock/contract.ts";
import { VolumeKey } from "../../services/viperblock/encryption/volume_key.ts";
import { Mounts } from "../../services/viperblock/mounts/mounts.ts";
import { openTables, type Tables } from "../../services/viperblock/records.ts";
import { startNats, testLog } from "../kit/nats.ts";
import { directoryStore } from "./bare_engine.ts";
import { qemuIo, run, startEngine } from "./engine.ts";
import { NbdClient } from "./nbd_client.ts";
import { disk, FrontEndClient, Guest } from "./vhost_client.ts";
import { until } from "../kit/until.ts";

const mebibyte = 1 << 20;

/** A QEMU block layer that stays connected, as a guest's does; commands go in one by one. */
class QemuClient implements AsyncDisposable {
  readonly #process: Deno.ChildProcess;
  readonly #writer: WritableStreamDefaultWriter<Uint8Array>;
  readonly #reader: ReadableStreamDefaultReader<string>;
  #text = "";

  constructor(socket: string, volumeId: string) {
    this.#process = new Deno.Command("qemu-io", {
      args: [
        "--image-opts",
        `driver=nbd,server.type=unix,server.path=${socket},export=${volumeId},reconnect-delay=60`,
      ],
      stdin: "piped",
      stdout: "piped",
      stderr: "inherit",
    }).spawn();
    this.#writer = this.#process.stdin.getWriter();
    this.#reader = this.#process.stdout.pipeThrough(new TextDecoderStream()).getReader();
  }

  /** One command at a time: a second line in the same read is not seen by qemu-io. */
  async send(command: string): Promise<void> {
    await this.#writer.write(new TextEncoder().encode(`${command}\n`));
  }

  /** Waits until the output matches; answers what came up to there. */
  async until(pattern: RegExp): Promise<string> {
    while (!pattern.test(this.#text)) {
      const { value, done } = await this.#reader.read();
      if (done) throw new Error(`qemu-io ended: ${this.#text}`);
      this.#text += value;
    }
    const said = this.#text;
    this.#text = "";
    return said;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#writer.close();
    await this.#process.status;
    await this.#reader.cancel();
  }
}

Deno.test("volumes survive kill -9 and stop of the engine on the same sockets, and QEMU goes on", async (t) => {
  await using engine = await startEngine();
  for (const volume_id of ["vol-one", "vol-two"]) {
    await engine.ask(createVolume, { volume_id, size_bytes: 256 * mebibyte });
    await engine.ask(mountVolume, { volume_id });
  }

  await t.step("a connected QEMU notices no more than a pause", async () => {
    await using qemu = new QemuClient(engine.socket("vol-one"), "vol-one");
    await qemu.send("write -f -P 0x21 0 8M");
    await qemu.until(/wrote 8388608/);
    await qemu.send("read -P 0x21 0 4k");
    await qemu.until(/read 4096/);
    await engine.kill();
    await qemu.send("write -P 0x22 4M 1M");
    await engine.start();
    await qemu.until(/wrote 1048576/);
    await qemu.send("read -P 0x21 0 4M");
    assert.doesNotMatch(await qemu.until(/read 4194304.*\n/), /failed|error/i);
    await qemu.send("read -P 0x22 4M 1M");
    assert.doesNotMatch(await qemu.until(/read 1048576.*\n/), /failed|error/i);
  });

  await t.step("fio's own checksums hold across a graceful restart", async () => {
    const job = [
      "-k",
      "5",
      "240",
      "fio",
      "--thread",
      "--name=verify",
      "--ioengine=nbd",
      `--uri=${engine.uri("vol-two")}`,
      "--rw=randwrite",
      "--bsrange=4k-128k",
      "--iodepth=16",
      "--size=96m",
      "--verify=crc32c",
      "--verify_fatal=1",
      "--verify_state_save=0",
      "--randseed=7",
    ];
    const fio = (how: string) => run("timeout", [...job, how], { timeout_ms: 250_000 });
    await fio("--do_verify=0");
    const before = await engine.ask(describeVolume, { volume_id: "vol-two" });
    await engine.stop();
    await engine.start();
    const after = await engine.ask(describeVolume, { volume_id: "vol-two" });
    assert.equal(after.epoch, before.epoch + 1);
    await fio("--verify_only=1");
  });

  await t.step("without predastore an unmount is refused and the volume is served on", async () => {
    const predastore = engine.predastore();
    await predastore.stop("SIGKILL");
    await assert.rejects(
      engine.ask(unmountVolume, { volume_id: "vol-two" }),
      (error) => error instanceof AwsError && error.code === "ServiceUnavailable",
    );
    await qemuIo(engine.uri("vol-two"), "write -P 0x77 200M 1M", "read -P 0x77 200M 1M");
    await engine.startPredastore();
    await engine.ask(unmountVolume, { volume_id: "vol-two" });
    assert.equal(
      (await engine.ask(describeVolume, { volume_id: "vol-two" })).mounted_on,
      undefined,
    );
    await engine.ask(mountVolume, { volume_id: "vol-two" });
    await qemuIo(engine.uri("vol-two"), "read -P 0x77 200M 1M");
  });
});

/** Puts, under the worker's hands, a read-only file in the place of every log file: its next write fails. */
function breakLog(directory: string): number {
  let broken = 0;
  const libc = Deno.dlopen("libc.so.6", { dup2: { parameters: ["i32", "i32"], result: "i32" } });
  const readOnly = openFile("/dev/null", openFlags.readOnly);
  for (const entry of Deno.readDirSync("/proc/self/fd")) {
    try {
      if (!Deno.readLinkSync(`/proc/self/fd/${entry.name}`).startsWith(`${directory}/log-`)) {
        continue;
      }
    } catch {
      continue; // it was closed since the listing
    }
    assert.equal(libc.symbols.dup2(readOnly, Number(entry.name)), Number(entry.name));
    broken++;
  }
  closeFile(readOnly);
  libc.close();
  return broken;
}

/** A directory for volumes and objects, and tables that nobody else has. */
async function emptyNode() {
  const nats = await startNats();
  const directory = await Deno.makeTempDir({ prefix: "mulga-workers-", dir: "/var/tmp" });
  await Deno.mkdir(`${directory}/volumes`);
  await Deno.mkdir(`${directory}/objects`);
  const tables = await openTables(await nats.bus(), testLog);
  return {
    directory,
    tables,
    async [Symbol.asyncDispose]() {
      await tables[Symbol.asyncDispose]();
      await Deno.remove(directory, { recursive: true });
      await nats[Symbol.asyncDispose]();
    },
  };
}

Deno.test("a worker that fails is started again with its data, and other volumes do not notice", async () => {
  await using node = await emptyNode();
  const { directory, tables } = node;
  const mounts = new Mounts({
    keyOf: () => Promise.reject(new Error("no volume here is encrypted")),
    nodeId: "node-1",
    directory: `${directory}/volumes`,
    socket: (id) => `${directory}/${id}`,
    tables,
    store: directoryStore(`${directory}/objects`),
    log: testLog,
    reserveBytes: 0,
    cacheBytes: () => 4 * mebibyte,
  });
  for (const volume_id of ["vol-a", "vol-b"]) {
    await tables.volumes.create(volume_id, {
      volume_id,
      size_bytes: 64 * mebibyte,
      epoch: 0,
      state: "ok",
    });
    await mounts.mount(volume_id);
  }
  const other = await NbdClient.connect(`${directory}/vol-b`, "vol-b");
  await other.write(0, new Uint8Array(4096).fill(2));
  let client = await NbdClient.connect(`${directory}/vol-a`, "vol-a");
  await client.write(0, new Uint8Array(8192).fill(1));
  const failed = mounts.volumes.get("vol-a");
  assert.ok(breakLog(`${directory}/volumes/vol-a`) > 0);
  await assert.rejects(client.write(4096, new Uint8Array(4096).fill(3)));
  await client[Symbol.asyncDispose]();
  assert.equal((await failed?.ended)?.kind, "failed");
  await until("the volume is served again", () => mounts.volumes.get("vol-a"));
  client = await NbdClient.connect(`${directory}/vol-a`, "vol-a");
  assert.ok((await client.read(0, 4096)).every((byte) => byte === 1));
  await client.write(4096, new Uint8Array(4096).fill(4), true);
  assert.equal((await other.read(0, 1))[0], 2, "the other volume's connection is the same one");
  assert.equal((await tables.volumes.read("vol-a"))?.value.epoch, 2);
  await client[Symbol.asyncDispose]();
  await other[Symbol.asyncDispose]();
  assert.equal(await mounts.unmount("vol-a"), true);
  assert.equal(await mounts.unmount("vol-a"), false);
  await mounts.stop();
});

Deno.test("a worker that fails leaves its guest's requests to the next one, and no descriptor behind", async () => {
  await using node = await emptyNode();
  const { directory, tables } = node;
  const guest = new Guest(1);
  try {
    const mounts = new Mounts({
      nodeId: "node-1",
      directory: `${directory}/volumes`,
      socket: (id) => `${directory}/${id}.nbd`,
      vhostSocket: (id) => `${directory}/${id}.vhost`,
      tables,
      store: directoryStore(`${directory}/objects`),
      keyOf: () => Promise.reject(new Error("no volume here is encrypted")),
      log: testLog,
      reserveBytes: 0,
      cacheBytes: () => 4 * mebibyte,
    });
    const volume_id = "vol-a";
    const row = { volume_id, size_bytes: 64 * mebibyte, epoch: 0, state: "ok" } as const;
    await tables.volumes.create(volume_id, row);
    const { vhost_socket } = await mounts.mount(volume_id);
    let front = FrontEndClient.connect(vhost_socket ?? "");
    front.serve(guest);
    const written = { type: disk.out, sector: 0, data: new Uint8Array(4096).fill(1) };
    assert.equal((await guest.run(0, written)).status, 0);
    /** Ends of this connection, of the guest's memory and of its events, ours and the worker's. */
    const held = () =>
      [...Deno.readDirSync("/proc/self/fd")].filter(({ name }) => {
        try {
          return /guest|in-flight|eventfd|socket/.test(Deno.readLinkSync(`/proc/self/fd/${name}`));
        } catch {
          return false; // it was closed since the listing
        }
      }).length;
    const before = held();
    const failed = mounts.volumes.get(volume_id);
    assert.ok(breakLog(`${directory}/volumes/${volume_id}`) > 0);
    const waiting = guest.start(0, { ...written, sector: 8 });
    assert.equal((await failed?.ended)?.kind, "failed");
    assert.ok(front.hungUp());
    front.close();
    await until("the volume is served again", () => mounts.volumes.get(volume_id));
    assert.deepEqual(guest.reap(0), [], "what was not written was not answered");
    front = FrontEndClient.connect(vhost_socket ?? "");
    front.serve(guest);
    const [done] = await guest.next(0);
    assert.deepEqual([done?.slot, done?.status], [waiting, 0]);
    const back = await guest.run(0, { type: disk.in, sector: 0, length: 8192 });
    assert.ok(back.data.every((byte) => byte === 1));
    // The worker closes those of the connection that has ended when it hears of its end.
    await until(`${before} descriptors at most`, () => held() <= before);
    front.close();
    await mounts.stop();
  } finally {
    guest.release();
  }
});

/** A node's mounts in this process; `onKey` is asked for the volumes' key, and may fail. */
function mountsOn(tables: Tables, directory: string, onKey = () => Promise.resolve()) {
  const key = VolumeKey.make();
  return new Mounts({
    nodeId: "node-1",
    directory: `${directory}/volumes`,
    socket: (id) => `${directory}/${id}`,
    tables,
    store: directoryStore(`${directory}/objects`),
    keyOf: async () => {
      await onKey();
      return key;
    },
    log: testLog,
    reserveBytes: 0,
    cacheBytes: () => 4 * mebibyte,
  });
}

/** The same tables, with `method` of that of volumes done otherwise. */
function withTable<Name extends "read" | "update">(
  tables: Tables,
  method: Name,
  otherwise: (usual: Tables["volumes"][Name]) => Tables["volumes"][Name],
): Tables {
  const { volumes } = tables;
  const changed = otherwise(volumes[method].bind(volumes) as Tables["volumes"][Name]);
  return {
    ...tables,
    volumes: new Proxy(volumes, {
      get(table, name) {
        if (name === method) return changed;
        const value = Reflect.get(table, name, table);
        return typeof value === "function" ? value.bind(table) : value;
      },
    }),
  };
}

Deno.test("a volume that was unmounted while its engine could not start is not served again", async () => {
  await using node = await emptyNode();
  const { directory, tables } = node;
  const volume_id = "vol-a";
  const size_bytes = 64 * mebibyte;
  await tables.volumes.create(volume_id, {
    volume_id,
    size_bytes,
    epoch: 0,
    state: "ok",
    encrypted: true,
  });
  /** Somebody has seen in its row that nobody serves it. */
  let isSeen = false;
  const watched = withTable(tables, "read", (read) => async (key) => {
    const row = await read(key);
    isSeen ||= row !== undefined && row.value.mounted_on === undefined;
    return row;
  });
  // It is mounted, its engine is started again in vain, and it is unmounted: each asks for the key.
  let asked = 0;
  const failing = Promise.withResolvers<void>();
  const refused = Promise.withResolvers<void>();
  const mounts = mountsOn(watched, directory, async () => {
    if (++asked !== 2) return;
    failing.resolve();
    await refused.promise;
  });
  await mounts.mount(volume_id);
  const failed = mounts.volumes.get(volume_id);
  const client = await NbdClient.connect(`${directory}/${volume_id}`, volume_id);
  assert.ok(breakLog(`${directory}/volumes/${volume_id}`) > 0);
  await assert.rejects(client.write(0, new Uint8Array(4096).fill(3)));
  await client[Symbol.asyncDispose]();
  assert.equal((await failed?.ended)?.kind, "failed");
  await failing.promise;
  isSeen = false;
  const unmounted = mounts.unmount(volume_id);
  refused.reject(new Error("the key is not to be had"));
  assert.equal(await unmounted, true);
  await until("the engine is to be started again", () => isSeen);
  assert.equal(await mounts.unmount(volume_id), false, "nobody has asked for it");
  assert.equal((await tables.volumes.read(volume_id))?.value.mounted_on, undefined);
  assert.equal(mounts.down.size, 0);
  await mounts.stop();
});

Deno.test("a volume that grows while its engine starts is served as large as it is then", async () => {
  await using node = await emptyNode();
  const { directory, tables } = node;
  const asked = Promise.withResolvers<void>();
  const given = Promise.withResolvers<void>();
  // As soon as its row says that it is served here, and before its engine starts.
  let onTaken = () => Promise.resolve();
  const watched = withTable(tables, "update", (update) => async (...args) => {
    const row = await update(...args);
    await onTaken();
    return row;
  });
  const mounts = mountsOn(watched, directory, async () => {
    asked.resolve();
    await given.promise;
  });
  const grow = async (volume_id: string, size_bytes: number) => {
    const row = await tables.volumes.modify(volume_id, (now) => {
      assert.ok(now);
      return { ...now, size_bytes };
    });
    await mounts.volumes.get(volume_id)?.resize(row.value);
  };
  const sizeOf = async (volume_id: string) => {
    await using client = await NbdClient.connect(`${directory}/${volume_id}`, volume_id);
    return client.size;
  };
  const row = { size_bytes: 64 * mebibyte, epoch: 0, state: "ok" } as const;
  await tables.volumes.create("vol-a", { ...row, volume_id: "vol-a" });
  onTaken = () => grow("vol-a", 96 * mebibyte);
  assert.equal((await mounts.mount("vol-a")).size_bytes, 96 * mebibyte);
  assert.equal(await sizeOf("vol-a"), 96 * mebibyte);
  onTaken = () => Promise.resolve();
  // Before it is this node's by its row, the row has changed under the mount.
  await tables.volumes.create("vol-b", { ...row, volume_id: "vol-b", encrypted: true });
  const late = mounts.mount("vol-b");
  await asked.promise;
  await grow("vol-b", 96 * mebibyte);
  given.resolve();
  assert.equal((await late).size_bytes, 96 * mebibyte);
  assert.equal(await sizeOf("vol-b"), 96 * mebibyte);
  await mounts.stop();
});
