/**
 * What protects the appliance's data when somebody carries it away: encryption sealed by a TPM, and Secure
 * Boot. The first start says it on the console, once; here it is said whenever somebody asks. It is read from
 * the machine as it is now, and a box without any of it runs and is told so.
 */
import { exists } from "../init/write_file.ts";
import type { Finding } from "../setup/machine.ts";
import { type BlockDevice, listBlockDevices } from "./disk/block_devices.ts";

const recoveryKey = "/var/lib/mulga-recovery-key";
const dataDirectory = "/var";
/** Four bytes of attributes, then 1 when it is on. */
const secureBootVariable =
  "/sys/firmware/efi/efivars/SecureBoot-8be4df61-93ca-11d2-aa0d-00e098032b8c";

export interface Protection {
  readonly encrypted: boolean;
  readonly tpm: boolean;
  readonly recoveryKeyHere: boolean;
  /** Undefined where the firmware knows no such thing. */
  readonly secureBoot: boolean | undefined;
}

/** Whether the data partition lies on an encrypted device. */
export function isEncrypted(devices: readonly BlockDevice[]): boolean {
  return devices.some((device) =>
    (device.type === "crypt" && device.mounts.includes(dataDirectory)) ||
    isEncrypted(device.children)
  );
}

export function isSecureBootOn(variable: Uint8Array | undefined): boolean | undefined {
  return variable?.length === 5 ? variable[4] === 1 : undefined;
}

export async function readProtection(): Promise<Protection> {
  const [devices, tpm, recoveryKeyHere, variable] = await Promise.all([
    listBlockDevices(),
    exists("/dev/tpmrm0"),
    exists(recoveryKey).catch(() => false),
    Deno.readFile(secureBootVariable).catch(() => undefined),
  ]);
  return {
    encrypted: isEncrypted(devices),
    tpm,
    recoveryKeyHere,
    secureBoot: isSecureBootOn(variable),
  };
}

export function protectionFindings(protection: Protection): Finding[] {
  const { encrypted, tpm, recoveryKeyHere, secureBoot } = protection;
  const found: Finding[] = [
    encrypted
      ? {
        what: "Data encryption",
        state: "ok",
        detail: "the data partition's key is sealed by this machine's TPM",
      }
      : {
        what: "Data encryption",
        state: "warn",
        detail: tpm
          ? "the data partition is not encrypted, though there is a TPM"
          : "the data partition is not encrypted: this machine has no TPM 2.0",
        ...(tpm
          ? {
            advice:
              "it did not work, or was not there, at the first start; a factory reset looks again",
          }
          : { advice: "whoever takes the disk can read it" }),
      },
    secureBoot === true ? { what: "Secure Boot", state: "ok", detail: "on" } : {
      what: "Secure Boot",
      state: "warn",
      detail: secureBoot === false ? "off" : "this machine's firmware has none",
      ...(encrypted
        ? { advice: "without it another system that is started on this machine can have the key" }
        : {}),
    },
  ];
  if (encrypted && recoveryKeyHere) {
    found.push({
      what: "Recovery key",
      state: "ok",
      detail: `in ${recoveryKey}`,
      advice: "keep a copy elsewhere: it is asked for when the TPM refuses",
    });
  }
  return found;
}
