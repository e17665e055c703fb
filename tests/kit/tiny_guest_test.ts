/** The tiny guest on a plain QEMU machine: what nearly all other tests of instances lean on. */
import assert from "node:assert/strict";
import { serveInstanceMetadata } from "./instance_metadata.ts";
import { guestAddress, guestMac, plainMachine } from "./plain_machine.ts";
import { until } from "./until.ts";
import { tinyGuestImage, tinyGuestReady, tinyGuestUserDataDone } from "./tiny_guest.ts";

/** Five times what an idle two-core machine without KVM takes. */
const boot_ms = 600_000;

Deno.test("concurrent callers get the same tiny image, and it is at most 64 MiB", async () => {
  const [first, second] = await Promise.all([tinyGuestImage(), tinyGuestImage()]);
  assert.equal(first, second);
  const { size } = await Deno.stat(first);
  assert.ok(size <= 64 * 1024 * 1024, `${size} bytes`);
});

Deno.test("the tiny guest lets its key in, runs user data once, sees disks come and go, and keeps its data", async (t) => {
  const image = await tinyGuestImage();
  await using machine = await plainMachine({ image, disk_gib: 1, memory_mib: 512 });
  const instance_id = "i-0123456789abcdef0";
  const script = await Deno.readTextFile(
    new URL("../../cloud-init/guest/script.sh", import.meta.url),
  );
  await using metadata = serveInstanceMetadata(machine.metadataSocket, {
    instance_id,
    public_key: machine.publicKey,
    private_ip: guestAddress,
    mac: guestMac,
    user_data: script + "cat /srv/hello/message >> /data/runs\n",
  });

  await t.step("it says that it is ready, and the key logs in as root and as debian", async () => {
    const started = performance.now();
    await machine.start();
    await machine.says(tinyGuestReady + instance_id, boot_ms);
    await machine.reachable("root", 600_000);
    console.log(`tiny guest: SSH after ${((performance.now() - started) / 1000).toFixed(1)} s`);
    assert.equal((await machine.ssh("debian", "sudo -n id -u")).trim(), "0");
    assert.ok(metadata.requests.includes("PUT /latest/api/token"));
  });

  await t.step("user data has run, with the instance's host name", async () => {
    await machine.says(`${tinyGuestUserDataDone}0`, 600_000);
    assert.equal(
      await machine.ssh("root", "cat /data/runs"),
      `Hello from ip-${guestAddress.replaceAll(".", "-")}.ec2.internal\n`,
    );
  });

  await t.step("another key is refused", async () => {
    const other = `${machine.directory}/other`;
    const made = await new Deno.Command("ssh-keygen", {
      args: ["-q", "-t", "ed25519", "-N", "", "-f", other],
    }).output();
    assert.ok(made.success);
    await assert.rejects(machine.ssh("root", "true", other), /Permission denied/);
  });

  await t.step(
    "a disk plugged in is there by its serial, takes ext4, and leaves no link",
    async () => {
      await machine.qmp("device_add", {
        driver: "virtio-blk-pci",
        bus: "slot1",
        drive: "spare",
        id: "spare-disk",
        serial: "vol11112222333344445",
      });
      const link = "/dev/disk/by-id/virtio-vol11112222333344445";
      await until(
        "the disk's link",
        () => machine.ssh("root", `test -b ${link}`).catch(() => undefined),
        600_000,
      );
      const script = [
        `mkfs.ext4 -q ${link}`,
        `mount ${link} /mnt`,
        "echo kept > /mnt/file",
        "sync",
        "sha256sum /mnt/file",
        "umount /mnt",
      ].join(" && ");
      assert.match(
        await machine.ssh("debian", `sudo sh -c '${script}'`),
        /^[0-9a-f]{64} {2}\/mnt\/file\n$/,
      );
      await machine.qmp("device_del", { id: "spare-disk" });
      await until(
        "the link's end",
        () => machine.ssh("root", `! test -e ${link} && ! test -e /dev/vdb`).catch(() => undefined),
        600_000,
      );
    },
  );

  await t.step(
    "the power button turns it off, and its data and host key are there after a start",
    async () => {
      await machine.ssh("root", "echo precious > /data/file");
      const key = await machine.ssh("root", "cat /data/host_key.pub");
      await machine.powerDown(600_000);
      await machine.start();
      await machine.says(tinyGuestReady + instance_id, boot_ms);
      await machine.reachable("root", 600_000);
      assert.equal(await machine.ssh("root", "cat /data/file"), "precious\n");
      assert.equal(await machine.ssh("root", "cat /data/host_key.pub"), key);
      assert.equal((await machine.ssh("root", "cat /data/runs")).split("\n").length, 2);
    },
  );

  await t.step("what was synced outlives a power cut", async () => {
    await machine.ssh("root", "echo synced > /data/synced && sync");
    await machine.cutPower();
    await machine.start();
    await machine.says(tinyGuestReady + instance_id, boot_ms);
    await machine.reachable("root", 600_000);
    assert.equal(await machine.ssh("root", "cat /data/synced"), "synced\n");
  });
});

Deno.test("without metadata the tiny guest still comes up and says so", async () => {
  const image = await tinyGuestImage();
  await using machine = await plainMachine({ image, disk_gib: 1, memory_mib: 512 });
  await machine.start();
  await machine.says("tiny-guest: no metadata", boot_ms);
  await machine.says(tinyGuestReady, boot_ms);
});
