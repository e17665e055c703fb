/** The data partition with and without a TPM, and Secure Boot with keys of one's own. */
import assert from "node:assert/strict";
import { join } from "node:path";
import { buildAppliance } from "../../image/appliance/build.ts";
import { host, Machine } from "./machine.ts";
import { healthy } from "./node.ts";
import { first, version } from "./versions.ts";

async function workDirectory(): Promise<{ readonly path: string } & AsyncDisposable> {
  const path = await Deno.makeTempDir({ dir: "/var/tmp", prefix: "mulga-encryption-" });
  return { path, [Symbol.asyncDispose]: () => Deno.remove(path, { recursive: true }) };
}

const size = { disk_gib: 9, memory_mib: 1536, seed: null } as const;

Deno.test("with a TPM the data partition is encrypted, opens by itself, and nowhere else", async (t) => {
  await using work = await workDirectory();
  const { raw: image } = await version(work.path, { version: first });
  await using machine = await Machine.create({ image, ...size, tpm: true });
  let id = "";
  await t.step("the first start encrypts it and makes a recovery key", async () => {
    await machine.start();
    await machine.says("MulgaOS: the data partition is encrypted", 600_000);
    await healthy(machine);
    id = await machine.run("cat /etc/machine-id");
    assert.match(
      await machine.run("findmnt --noheadings --output SOURCE /var"),
      /mapper\/mulga-var/,
    );
    const header = await machine.run("cryptsetup luksDump /dev/disk/by-partlabel/mulga-var");
    assert.match(header, /systemd-tpm2/);
    assert.match(header, /tpm2-hash-pcrs:\s+7\n/);
    await machine.run("until test -e /var/lib/mulga-recovery-key; do sleep 1; done", 300_000);
    assert.match(await machine.run("stat -c %a%u /var/lib/mulga-recovery-key"), /^6000$/m);
    await machine.run(
      "tr -d '\\n' < /var/lib/mulga-recovery-key | cryptsetup open --test-passphrase --key-file - " +
        "/dev/disk/by-partlabel/mulga-var",
    );
  });
  await t.step("it opens by itself at the next start", async () => {
    await machine.reboot();
    await healthy(machine);
    assert.equal(await machine.run("cat /etc/machine-id; sync"), id);
    await machine.powerDown();
  });
  await t.step("another TPM does not open it", async () => {
    await Deno.rename(join(machine.directory, "tpm"), join(machine.directory, "own-tpm"));
    await machine.start();
    await machine.says(
      /Please enter|recovery key|data partition cannot be made or opened/,
      600_000,
    );
    await machine.cutPower();
    await Deno.remove(join(machine.directory, "tpm"), { recursive: true });
    await Deno.rename(join(machine.directory, "own-tpm"), join(machine.directory, "tpm"));
    await machine.start();
    await healthy(machine);
    assert.equal(await machine.run("cat /etc/machine-id"), id);
  });
});

Deno.test("without a TPM it runs all the same and says so", async () => {
  await using work = await workDirectory();
  const { raw: image } = await version(work.path, { version: first });
  await using machine = await Machine.create({ image, ...size });
  await machine.start();
  await machine.says(
    "this machine has no TPM 2.0, so its data partition is not encrypted",
    600_000,
  );
  await healthy(machine);
  assert.match(await machine.run("findmnt --noheadings --output SOURCE /var"), /^\/dev\/vda6/);
});

Deno.test("signed with one's own keys it starts under Secure Boot, and an unsigned one does not", async () => {
  await using work = await workDirectory();
  const [key, certificate] = [join(work.path, "boot.key"), join(work.path, "boot.crt")];
  await host(
    "openssl",
    ...["req", "-new", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "3650"],
    ...["-keyout", key, "-out", certificate, "-subj", "/CN=MulgaOS test/"],
  );
  const signed = await buildAppliance({ version: first, secureBoot: { key, certificate } });
  await using machine = await Machine.create({
    ...size,
    image: signed.raw,
    secureBoot: true,
    tpm: true,
  });
  await machine.start();
  // The first start enrols the keys and starts again. No shell here: what firmware adds to a signed
  // kernel's command line does not count.
  await machine.says(/Kernel is locked down from EFI Secure Boot/, 900_000);
  await machine.says("MulgaOS: the data partition is encrypted", 600_000);
  await machine.says(/Reached target .*Multi-User System/, 900_000);
  await machine.cutPower();
  const { raw: unsigned } = await version(work.path, { version: first });
  await host(
    "qemu-img",
    ...["create", "-q", "-f", "qcow2", "-b", unsigned, "-F", "raw"],
    ...[join(machine.directory, "disk.qcow2"), "9G"],
  );
  await machine.start();
  await machine.says(/Access Denied|Security Violation/, 300_000);
  assert.doesNotMatch(await machine.console(), /Linux version/);
});
