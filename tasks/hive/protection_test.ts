import assert from "node:assert/strict";
import { parseLsblk } from "./disk/block_devices.ts";
import { isEncrypted, isSecureBootOn, protectionFindings, readProtection } from "./protection.ts";

const disk = (crypt: boolean) =>
  parseLsblk(JSON.stringify({
    blockdevices: [{
      path: "/dev/vda",
      type: "disk",
      children: [
        { path: "/dev/vda1", type: "part", mountpoints: ["/boot"] },
        crypt
          ? {
            path: "/dev/vda6",
            type: "part",
            fstype: "crypto_LUKS",
            mountpoints: [null],
            children: [{ path: "/dev/mapper/mulga-var", type: "crypt", mountpoints: ["/var"] }],
          }
          : { path: "/dev/vda6", type: "part", mountpoints: ["/var"] },
      ],
    }],
  }));

Deno.test("whether data is encrypted is seen from the device that it lies on", () => {
  assert.equal(isEncrypted(disk(true)), true);
  assert.equal(isEncrypted(disk(false)), false);
  assert.equal(isSecureBootOn(new Uint8Array([6, 0, 0, 0, 1])), true);
  assert.equal(isSecureBootOn(new Uint8Array([6, 0, 0, 0, 0])), false);
  assert.equal(isSecureBootOn(undefined), undefined);
  assert.equal(isSecureBootOn(new Uint8Array(0)), undefined);
});

Deno.test("a box without TPM or Secure Boot is told so and is not bad for it", () => {
  const bare = { encrypted: false, tpm: false, recoveryKeyHere: false, secureBoot: undefined };
  const [encryption, boot, ...more] = protectionFindings(bare);
  assert.equal(encryption?.state, "warn");
  assert.match(encryption?.detail ?? "", /not encrypted: this machine has no TPM 2\.0/);
  assert.match(boot?.detail ?? "", /firmware has none/);
  assert.deepEqual(more, []);
  const [failed] = protectionFindings({ ...bare, tpm: true });
  assert.match(`${failed?.detail} ${failed?.advice}`, /though there is a TPM .*factory reset/);
  const all = protectionFindings({
    encrypted: true,
    tpm: true,
    recoveryKeyHere: true,
    secureBoot: true,
  });
  assert.deepEqual(all.map(({ what, state }) => [what, state]), [
    ["Data encryption", "ok"],
    ["Secure Boot", "ok"],
    ["Recovery key", "ok"],
  ]);
  assert.match(all[2]?.advice ?? "", /copy elsewhere/);
});

Deno.test("this machine can be asked", async () => {
  const { encrypted, tpm } = await readProtection();
  assert.deepEqual([typeof encrypted, typeof tpm], ["boolean", "boolean"]);
});
