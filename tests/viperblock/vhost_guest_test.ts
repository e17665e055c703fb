/**
 * A real guest on the vhost-user-blk door, driven by compute's own hypervisor: it boots from a volume, and
 * a second one is plugged in, survives kill -9 of its engine under load, grows, and comes out again; a third is damaged.
 */
import assert from "node:assert/strict";
import { join } from "node:path";
import { chooseDiskDoor } from "../../services/compute/machines/disk_door.ts";
import { QemuHypervisor } from "../../services/compute/machines/qemu.ts";
import { pathsOf } from "../../services/config/node_config.ts";
import { createLog } from "../../services/log/log.ts";
import { serveInstanceMetadata } from "../kit/instance_metadata.ts";
import { freePort } from "../kit/nats.ts";
import { guestAddress, guestMac } from "../kit/plain_machine.ts";
import { until } from "../kit/until.ts";
import { tinyGuestImage, tinyGuestReady } from "../kit/tiny_guest.ts";
import { type BareEngine, type BareOptions, startBare } from "./bare_engine.ts";
import { qemuIo, run } from "./engine.ts";
import { batches, flipBit } from "./log_batches.ts";

const instance_id = "i-0123456789abcdef0";
const boot_ms = 180_000;
const mebibyte = 1 << 20;

Deno.test("a guest boots from a vhost-user-blk volume; another is plugged in, outlives its engine, grows and comes out", async (t) => {
  const directory = await Deno.makeTempDir({ prefix: "mulga-vhost-", dir: "/var/tmp" });
  const paths = pathsOf(join(directory, "node"));
  const engines: BareEngine[] = [];
  const volume = (name: string, sizeBytes: number): BareOptions => ({
    directory: join(directory, name),
    socket: join(directory, `${name}.nbd`),
    vhostSocket: join(directory, `${name}.vhost`),
    sizeBytes,
    epoch: 1,
  });
  const start = async (options: BareOptions) => {
    const engine = await startBare(options);
    engines.push(engine);
    return engine;
  };
  const rootOptions = volume("root", 256 * mebibyte);
  const dataOptions = volume("data", 64 * mebibyte);
  const root = await start(rootOptions);
  let data = await start(dataOptions);
  await run("nbdcopy", [
    "--flush",
    await tinyGuestImage(),
    `nbd+unix:///vol-bare?socket=${rootOptions.socket}`,
  ]);
  const key = join(directory, "key");
  await run("ssh-keygen", ["-q", "-t", "ed25519", "-N", "", "-f", key]);
  await using _metadata = serveInstanceMetadata(join(directory, "imds.sock"), {
    instance_id,
    public_key: (await Deno.readTextFile(`${key}.pub`)).trim(),
    private_ip: guestAddress,
    mac: guestMac,
  });
  const port = freePort();
  const ssh = (line: string, timeout_ms = 60_000) =>
    run("ssh", [
      ...["-i", key, "-p", String(port), "-o", "StrictHostKeyChecking=no", "-o", "BatchMode=yes"],
      ...["-o", "UserKnownHostsFile=/dev/null", "-o", "LogLevel=ERROR", "-o", "ConnectTimeout=10"],
      ...["root@127.0.0.1", line],
    ], { timeout_ms });
  const log = createLog("test", { write: () => {} });
  const disks = await chooseDiskDoor(undefined, log);
  assert.equal(disks, "vhost-user", "this machine's QEMU can share guests' memory");
  const hypervisor = new QemuHypervisor({ paths, accelerator: "tcg", disks, log });
  const disk = (id: string, options: BareOptions, slot: number) => ({
    volume_id: id,
    socket: options.socket,
    vhost_socket: options.vhostSocket as string,
    slot,
  });
  const second = disk("vol-00000000000000002", dataOptions, 1);
  const thirdOptions = volume("damaged", 16 * mebibyte);
  const third = disk("vol-00000000000000003", thirdOptions, 2);
  const machine = await hypervisor.start({
    instance_id,
    instance_type: "t3.micro",
    architecture: Deno.build.arch === "aarch64" ? "arm64" : "x86_64",
    vcpus: 1,
    memory_mib: 512,
    tpm: false,
    network: [
      "-netdev",
      "user,id=net,restrict=on,net=160.0.0.0/4,host=172.31.0.1,dns=172.31.0.2," +
      `dhcpstart=${guestAddress},hostfwd=tcp:127.0.0.1:${port}-${guestAddress}:22,` +
      `guestfwd=tcp:169.254.169.254:80-cmd:socat - UNIX-CONNECT:${join(directory, "imds.sock")}`,
      ...["-device", `virtio-net-pci,netdev=net,mac=${guestMac},romfile=`],
    ],
    disks: [disk("vol-00000000000000001", rootOptions, 0)],
  });
  try {
    await t.step("firmware and kernel come from the volume", async () => {
      const console = join(paths.service("compute"), "machines", instance_id, "console.log");
      await until(
        "the guest's word that it is ready",
        async () => (await Deno.readTextFile(console)).includes(tinyGuestReady) || undefined,
        boot_ms,
      );
      await until("SSH", () => ssh("true").catch(() => undefined), 120_000);
      assert.match(await ssh("cat /proc/partitions"), /262144 vda\n/);
      assert.match(await ssh("cat /sys/block/vda/serial"), /^volbare/);
      assert.match(await ssh("cat /sys/block/vda/queue/write_cache"), /write back/);
    });

    await t.step("a volume is plugged in and takes a file system", async () => {
      await machine.plug(second);
      await until("vdb", () => ssh("test -b /dev/vdb").catch(() => undefined), 120_000);
      await ssh("mkfs.ext4 -q /dev/vdb && mount /dev/vdb /mnt");
      await ssh("dd if=/dev/urandom of=/mnt/first bs=64k count=64 && sync");
    });

    let sum = "";
    await t.step("kill -9 of its engine under load is a pause, and nothing is lost", async () => {
      const load =
        "dd if=/dev/urandom of=/tmp/want bs=4k count=3000 2>/dev/null && for i in 1 2 3; do " +
        "dd if=/tmp/want of=/mnt/load$i bs=4k conv=fsync 2>/dev/null || exit 1; done; " +
        "sha256sum </tmp/want; cat /mnt/load? | sha256sum; dmesg | grep -c 'I/O error'; true";
      const loading = ssh(load, 240_000);
      // In sectors.
      const written = async () =>
        Number((await ssh("cat /sys/block/vdb/stat")).trim().split(/\s+/)[6]);
      const before = await written();
      for (let epoch = 2; epoch <= 4; epoch++) {
        await until(
          "something is written",
          async () => await written() > before + epoch * 8000 || undefined,
          60_000,
        );
        await data.kill();
        await until(
          "the machine's word that a disk is away",
          async () => await machine.status() === "disk_away" || undefined,
          120_000,
        );
        data = await start({ ...dataOptions, epoch });
      }
      const [, , errors] = (await loading).trim().split("\n");
      // A quick disk may have had all of the load before the last engine was there.
      await until(
        "the machine's word that all disks are there",
        async () => await machine.status() === "running" || undefined,
        120_000,
      );
      assert.equal(errors, "0");
      sum = await ssh("echo 3 >/proc/sys/vm/drop_caches; cat /mnt/load? | sha256sum");
      assert.equal(sum, await ssh("cat /tmp/want /tmp/want /tmp/want | sha256sum"));
    });

    await t.step("it grows while it is mounted", async () => {
      data.process.kill("SIGUSR1");
      const sectors = String(128 * mebibyte / 512);
      await machine.grow(second.volume_id, 128 * mebibyte);
      await until(
        "the kernel's new size",
        async () => (await ssh("cat /sys/block/vdb/size")).trim() === sectors || undefined,
        120_000,
      );
      await ssh("resize2fs /dev/vdb");
      const kib = Number((await ssh("df -k /mnt | tail -n 1")).split(/\s+/)[1]);
      assert.ok(kib > 100_000, `${kib} KiB`);
      await ssh("dd if=/dev/zero of=/mnt/more bs=1M count=40 conv=fsync");
    });

    await t.step("it comes out, goes in again, and holds what it held", async () => {
      await ssh("umount /mnt");
      await machine.unplug(second.volume_id);
      assert.deepEqual(await machine.disks(), ["vol-00000000000000001"]);
      await until("no vdb", () => ssh("! test -e /dev/vdb").catch(() => undefined), 120_000);
      await machine.plug(second);
      await until("vdb", () => ssh("test -b /dev/vdb").catch(() => undefined), 120_000);
      await ssh("e2fsck -fn /dev/vdb && mount /dev/vdb /mnt");
      assert.equal(await ssh("cat /mnt/load? | sha256sum"), sum);
    });

    await t.step(
      "a disk whose engine is not there is refused, and the guest does not wait",
      async () => {
        await assert.rejects(machine.plug(third), /no engine answers/);
        assert.equal(await ssh("echo here"), "here\n");
        assert.equal(await machine.status(), "running");
        assert.deepEqual((await machine.disks()).length, 2);
      },
    );

    await t.step("a damaged volume comes in as a disk that can only be read", async () => {
      const whole = await start(thirdOptions);
      const uri = `nbd+unix:///vol-bare?socket=${thirdOptions.socket}`;
      for (const [pattern, at] of [["0x51", "0"], ["0x52", "64k"], ["0x53", "128k"]]) {
        await qemuIo(uri, `write -P ${pattern} ${at} 4k`, "flush");
      }
      await whole.kill();
      const [first] = (await batches(`${thirdOptions.directory}/log`, "vol-bare"))
        .filter(({ header }) => header.dataCount > 0);
      assert.ok(first);
      await flipBit(first.path, (first.header.position + 1) * 4096 + 100);
      const { ready: { damage } } = await start({ ...thirdOptions, epoch: 2 });
      assert.equal(damage?.damaged_blocks, 1);
      await machine.plug(third);
      await until("vdc", () => ssh("test -b /dev/vdc").catch(() => undefined), 120_000);
      assert.equal(await ssh("cat /sys/block/vdc/ro"), "1\n");
      const byte = (block: number) =>
        ssh(`dd if=/dev/vdc bs=4k skip=${block} count=1 2>/dev/null | od -An -tx1 -N1`);
      assert.deepEqual([await byte(16), await byte(32)], [" 52\n", " 53\n"]);
      await ssh("! dd if=/dev/vdc of=/dev/null bs=4k count=1 2>/dev/null");
      await ssh("! dd if=/dev/zero of=/dev/vdc bs=4k count=1 conv=fsync 2>/dev/null");
      await machine.unplug(third.volume_id);
    });

    await t.step("its root's engine, too, may be started again", async () => {
      await root.kill();
      const writing = ssh("echo kept > /data/kept && sync && cat /data/kept", 120_000);
      await start({ ...rootOptions, epoch: 2 });
      assert.equal(await writing, "kept\n");
    });
  } finally {
    await machine.end();
    await machine.release();
    for (const engine of engines) await engine.kill().catch(() => {});
    await Deno.remove(directory, { recursive: true });
  }
});
