/** Finds the UEFI firmware that Debian's packages install (`ovmf`, `qemu-efi-aarch64`). */
import type { MachineSpec } from "./hypervisor.ts";

export interface Firmware {
  /** Read-only code, shared by all guests. */
  readonly code: string;
  /** Template of the variables; each guest has its own copy. */
  readonly variables: string;
}

const candidates: Record<MachineSpec["architecture"], readonly Firmware[]> = {
  x86_64: [
    {
      code: "/usr/share/OVMF/OVMF_CODE_4M.fd",
      variables: "/usr/share/OVMF/OVMF_VARS_4M.fd",
    },
    { code: "/usr/share/OVMF/OVMF_CODE.fd", variables: "/usr/share/OVMF/OVMF_VARS.fd" },
  ],
  arm64: [
    {
      code: "/usr/share/AAVMF/AAVMF_CODE.no-secboot.fd",
      variables: "/usr/share/AAVMF/AAVMF_VARS.fd",
    },
    { code: "/usr/share/AAVMF/AAVMF_CODE.fd", variables: "/usr/share/AAVMF/AAVMF_VARS.fd" },
  ],
};

const packages = { x86_64: "ovmf", arm64: "qemu-efi-aarch64" } as const;

/** @throws Deno.errors.NotFound with the package to install */
export async function findFirmware(architecture: MachineSpec["architecture"]): Promise<Firmware> {
  const there = (path: string) => Deno.stat(path).then((stat) => stat.isFile, () => false);
  for (const firmware of candidates[architecture]) {
    if (await there(firmware.code) && await there(firmware.variables)) return firmware;
  }
  throw new Deno.errors.NotFound(
    `No UEFI firmware for ${architecture} guests. Install the package ${packages[architecture]}.`,
  );
}
