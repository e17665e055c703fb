/**
 * The Debian guest image on a plain QEMU machine: built (or taken from the cache), booted through
 * UEFI with EC2's metadata, and held to what people expect of a Debian instance. That it
 * starts again with its data and host keys is held by `debian_instance_test.ts`.
 */
import assert from "node:assert/strict";
import { buildGuestImage } from "../../image/build.ts";
import { serveInstanceMetadata } from "../kit/instance_metadata.ts";
import { guestAddress, guestMac, plainMachine } from "../kit/plain_machine.ts";
import { untilWorks } from "../kit/until.ts";

/** Many times what an idle two-core machine without KVM takes. */
const boot_ms = 1_200_000;
const GiB = 1024 ** 3;

Deno.test("a Debian guest is what people expect of a fresh instance", async (t) => {
  const output = await Deno.makeTempDir({ prefix: "mulga-debian-" });
  await using _output = { [Symbol.asyncDispose]: () => Deno.remove(output, { recursive: true }) };
  const started = performance.now();
  const image = await buildGuestImage("debian-13", { output });
  const seconds = (since: number) => ((performance.now() - since) / 1000).toFixed(1);
  console.log(`debian-13: image after ${seconds(started)} s`);
  const { size } = await Deno.stat(image.path);
  assert.ok(size < GiB, `${size} bytes do not fit a volume of 1 GiB`);
  assert.equal(size % 4096, 0);

  await using machine = await plainMachine({ image: image.path, disk_gib: 3, memory_mib: 1024 });
  await using metadata = serveInstanceMetadata(machine.metadataSocket, {
    instance_id: "i-0123456789abcdef0",
    public_key: machine.publicKey,
    private_ip: guestAddress,
    mac: guestMac,
    user_data: await Deno.readTextFile(
      new URL("../../cloud-init/guest/cloud-config.yaml", import.meta.url),
    ),
  });
  const hostname = `ip-${guestAddress.replaceAll(".", "-")}`;
  const guest = async (line: string) => (await machine.ssh("debian", line)).trim();

  await t.step("the key logs in as debian, who is root by sudo at once", async () => {
    const powered = performance.now();
    await machine.start();
    await machine.reachable("debian", boot_ms);
    console.log(`debian-13: SSH after ${seconds(powered)} s`);
    assert.equal(await guest("sudo -n id -u"), "0");
    assert.equal(await guest("hostname"), hostname);
    assert.equal(await guest("getent hosts $(hostname) >/dev/null && echo resolves"), "resolves");
  });

  await t.step(
    "cloud-init took EC2's way, without an error, and asked for everything once",
    async () => {
      assert.match(await guest("cloud-init status --wait"), /status: done/);
      assert.match(await guest("cloud-id"), /aws/);
      assert.equal(await guest("systemctl --failed --no-legend"), "");
      const repeated = metadata.requests.filter((path, index) =>
        path.startsWith("GET") && path.includes("/placement/") &&
        metadata.requests.indexOf(path) !== index
      );
      assert.deepEqual(repeated, []);
    },
  );

  await t.step("user data has made its user, its files and run its commands", async () => {
    assert.equal(await guest("cat /srv/hello/message"), `Hello from ${hostname}`);
    assert.equal(await guest("sudo -n -u ops sudo -n id -u"), "0");
    assert.equal(await guest("cat /etc/motd"), "Set up by user data.");
  });

  await t.step("the root file system fills the volume", async () => {
    assert.ok(Number(await guest("findmnt -bno SIZE /")) > 2.6 * GiB);
  });

  await t.step("host keys and machine id are the instance's own", async () => {
    const keys = await guest("cat /etc/ssh/ssh_host_*_key.pub");
    assert.deepEqual(keys.split("\n").map((key) => key.split(" ")[0]).sort(), [
      "ecdsa-sha2-nistp256",
      "ssh-ed25519",
    ]);
    assert.ok(keys.includes(`root@${hostname}`), keys);
    assert.equal(
      await guest("cat /etc/machine-id"),
      (await guest("sudo cat /sys/class/dmi/id/product_uuid")).replaceAll("-", ""),
    );
  });

  await t.step(
    "the kernel that boots is the one that Debian's hooks keep on the boot partition",
    async () => {
      const entry = await guest("sudo cat /boot/efi/loader/entries/debian-$(uname -r).conf");
      assert.match(entry, /^linux\s+\/debian\/\S+\/linux$/m);
      assert.equal(await guest("sudo bootctl is-installed"), "yes");
      // What a kernel upgrade does, done again for the kernel that is there.
      await guest(
        "sudo sh -c 'rm /boot/efi/loader/entries/*.conf && /etc/kernel/postinst.d/zz-systemd-boot $(uname -r) /boot/vmlinuz-$(uname -r)'",
      );
      const again = await guest("sudo cat /boot/efi/loader/entries/debian-$(uname -r).conf");
      assert.match(again, /^options\s+root=PARTLABEL=debian-root /m);
      assert.match(again, /^initrd\s+\/debian\/\S+\/initrd\.img-/m);
    },
  );

  await t.step("the power button turns it off in good order", async () => {
    await untilWorks(
      "the prompt on the console",
      async () => /login:/.test(await machine.console()),
      boot_ms,
    );
    const pressed = performance.now();
    await machine.powerDown(boot_ms);
    console.log(`debian-13: off after ${seconds(pressed)} s`);
  });
});
