/**
 * The engine is killed a hundred times (`MULGA_DEATHS` of them) while fio writes and verifies one of its
 * volumes and a guest's ext4 lies on another. Neither client is told of an error; the file system is clean
 * at the end, and every byte that was synced is there.
 *
 * fio does not connect again when its server goes, so it reaches its volume as a guest would: through
 * QEMU's NBD client, which qemu-nbd hands on. When to kill is told by the engine's own counters, so that
 * both volumes have been written to since the last time.
 */
import assert from "node:assert/strict";
import {
  checkVolume,
  createVolume,
  mountVolume,
  unmountVolume,
  volumeMetrics,
} from "../../services/viperblock/contract.ts";
import { serveInstanceMetadata } from "../kit/instance_metadata.ts";
import { guestAddress, guestMac, plainMachine } from "../kit/plain_machine.ts";
import { until } from "../kit/until.ts";
import { seeded } from "../kit/random.ts";
import { tinyGuestImage } from "../kit/tiny_guest.ts";
import { run, startEngine, type TestEngine } from "../viperblock/engine.ts";

const deaths = Number(Deno.env.get("MULGA_DEATHS") ?? 100);
const mebibyte = 1 << 20;
const patience_ms = 600_000;
/** QEMU asks again for so long before it tells anybody of an error. */
const reconnect_s = 600;

/** Keeps the newest 30 files that it wrote, each synced before its digest is noted in memory. */
const writer = `#!/bin/sh
n=0
while [ ! -e /tmp/stop ]; do
  n=$((n + 1))
  { head -c 32768 /dev/urandom >/mnt/$n && sync /mnt/$n; } || { echo $n >/tmp/failed; break; }
  (cd /mnt && sha256sum $n) >>/tmp/sums
  rm -f /mnt/$((n - 30))
done
touch /tmp/stopped
`;

/** fio on one volume, pass after pass, until told to end; every pass writes all blocks and reads them back. */
class VerifiedLoad implements AsyncDisposable {
  readonly #proxy: Deno.ChildProcess;
  readonly #uri: string;
  #ended = false;
  passes = 0;

  constructor(engine: TestEngine, volumeId: string, readonly firstSeed: number) {
    const socket = `${engine.node.config.data_dir}/fio.sock`;
    this.#uri = `nbd+unix:///${volumeId}?socket=${socket}`;
    this.#proxy = new Deno.Command("qemu-nbd", {
      args: [
        ...["--persistent", "--shared=0", `--export-name=${volumeId}`, `--socket=${socket}`],
        "--image-opts",
        `driver=nbd,server.type=unix,server.path=${engine.socket(volumeId)},` +
        `export=${volumeId},reconnect-delay=${reconnect_s}`,
      ],
      stdin: "null",
    }).spawn();
  }

  /** @throws when fio was told of an error or read something else than it had written */
  async run(): Promise<void> {
    await until(
      "qemu-nbd to serve",
      () => run("nbdinfo", ["--size", this.#uri]).catch(() => undefined),
      patience_ms,
    );
    for (; !this.#ended; this.passes++) {
      await run("timeout", [
        ...["-k", "5", "3600", "fio", "--thread", "--name=verify", "--ioengine=nbd"],
        ...[`--uri=${this.#uri}`, "--rw=randwrite", "--bs=4k", "--iodepth=16", "--size=64m"],
        ...["--fsync=64", "--verify=crc32c", "--verify_fatal=1", "--verify_state_save=0"],
        `--randseed=${this.firstSeed + this.passes}`,
      ], { timeout_ms: 3_600_000 });
    }
  }

  /** After the pass that is under way. */
  end(): void {
    this.#ended = true;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    try {
      this.#proxy.kill("SIGKILL");
    } catch {
      // It was ended before.
    }
    await this.#proxy.status;
  }
}

Deno.test(`${deaths} deaths of the engine under fio and a guest's ext4 lose nothing`, async () => {
  await seeded(async (random) => {
    await using engine = await startEngine();
    const [verified, mounted] = ["vol-00000000000000f10", "vol-00000000000000e40"] as const;
    for (const volume_id of [verified, mounted]) {
      await engine.ask(createVolume, { volume_id, size_bytes: 256 * mebibyte });
      await engine.ask(mountVolume, { volume_id });
    }
    await using machine = await plainMachine({
      image: await tinyGuestImage(),
      disk_gib: 1,
      memory_mib: 384,
    });
    await using _metadata = serveInstanceMetadata(machine.metadataSocket, {
      instance_id: "i-0123456789abcdef0",
      public_key: machine.publicKey,
      private_ip: guestAddress,
      mac: guestMac,
    });
    const inGuest = (line: string) => machine.ssh("root", line);
    await machine.start();
    await machine.reachable("root", patience_ms);
    await machine.qmp("blockdev-add", {
      driver: "nbd",
      "node-name": "mounted",
      server: { type: "unix", path: engine.socket(mounted) },
      export: mounted,
      "reconnect-delay": reconnect_s,
      discard: "unmap",
    });
    const serial = mounted.replace("-", "");
    await machine.qmp("device_add", {
      driver: "virtio-blk-pci",
      bus: "slot1",
      drive: "mounted",
      serial,
    });
    const disk = `/dev/disk/by-id/virtio-${serial}`;
    await inGuest(`until [ -b ${disk} ]; do sleep 0.2; done
      mkfs.ext4 -q ${disk} && mount -o discard ${disk} /mnt`);
    await inGuest(`cat >/tmp/writer <<'END'\n${writer}END\nchmod 700 /tmp/writer`);
    await inGuest("/tmp/writer </dev/null >/dev/null 2>&1 &");

    await using load = new VerifiedLoad(engine, verified, random.below(1_000_000));
    let failure: unknown;
    const loaded = load.run().catch((error) => failure = error);
    const begun = performance.now();
    for (let death = 1; death <= deaths; death++) {
      const wanted = [[verified, 1 + random.below(4_000)], [
        mounted,
        1 + random.below(60),
      ]] as const;
      await until(`both clients to go on after death ${death - 1}`, async () => {
        if (failure !== undefined) throw failure;
        for (const [volume_id, writes] of wanted) {
          const metrics = await engine.ask(volumeMetrics, { volume_id });
          if ((metrics["writes"] ?? 0) < writes) return undefined;
        }
        return true;
      }, patience_ms);
      await engine.kill();
      await engine.start();
      if (death % 10 === 0) {
        const seconds = Math.round((performance.now() - begun) / 1000);
        console.log(`${death} deaths in ${seconds} s, ${load.passes} passes of fio`);
      }
    }
    load.end();
    await loaded;
    assert.equal(failure, undefined, String(failure));

    await inGuest("touch /tmp/stop; until [ -e /tmp/stopped ]; do sleep 0.1; done");
    await inGuest("test ! -e /tmp/failed");
    await inGuest("tail -n 30 /tmp/sums >/tmp/newest && umount /mnt");
    await inGuest(`e2fsck -fn ${disk}`);
    await inGuest(`mount ${disk} /mnt && cd /mnt && sha256sum -c /tmp/newest`);
    const files = Number(await inGuest("wc -l </tmp/sums"));
    await inGuest(`cd / && umount /mnt`);
    await machine.cutPower();
    await load[Symbol.asyncDispose]();
    for (const id of [verified, mounted]) {
      await engine.ask(unmountVolume, { volume_id: id });
      const report = await engine.ask(checkVolume, { id });
      assert.ok(report.is_sound, JSON.stringify(report));
    }
    console.log(`${deaths} deaths, ${load.passes} passes of fio, ${files} files of the guest`);
  });
});
