/** The kinds of machines that images are started on: QEMU's program, board, processor and firmware. */
import { join } from "node:path";
import { openArchive } from "../../image/guest/debian_archive.ts";

export interface Platform {
  readonly program: string;
  readonly machine: string;
  readonly cpu: string;
  readonly code: string;
  /** What the firmware remembers by; each machine has a copy. Absent where the disk remembers. */
  readonly variables?: string;
  /** How the guest calls its second serial line. */
  readonly shellTerminal: string;
}

/** A machine other than a PC. */
export type Board = Platform;

const pc = {
  program: "qemu-system-x86_64",
  // Five levels of page tables cost an emulated machine more than they could show.
  cpu: "max,la57=off",
  variables: "/usr/share/OVMF/OVMF_VARS_4M.fd",
  shellTerminal: "ttyS1",
} as const;

export const pcs = {
  plain: { ...pc, machine: "q35", code: "/usr/share/OVMF/OVMF_CODE_4M.fd" },
  secure: { ...pc, machine: "q35,smm=on", code: "/usr/share/OVMF/OVMF_CODE_4M.secboot.fd" },
} as const satisfies Record<string, Platform>;

const arm = {
  program: "qemu-system-aarch64",
  machine: "virt",
  // A Raspberry Pi 4's.
  cpu: "cortex-a72",
  shellTerminal: "ttyAMA1",
} as const;

/** A 64-bit ARM server with UEFI firmware. */
export const armServer: Board = {
  ...arm,
  code: "/usr/share/AAVMF/AAVMF_CODE.fd",
  variables: "/usr/share/AAVMF/AAVMF_VARS.fd",
};

/**
 * The same server started by U-Boot, of Debian 13 as on a Raspberry Pi: what happens from U-Boot on is
 * what happens there.
 * @param cache where the package is kept
 */
export async function armServerWithUBoot(cache: string): Promise<Board> {
  const [directory] = await unpack(cache, "u-boot-qemu");
  return { ...arm, code: join(directory ?? "", "usr/lib/u-boot/qemu_arm64/u-boot.bin") };
}

/** A package of Debian 13, unpacked below `cache`. */
async function unpack(cache: string, ...names: readonly string[]): Promise<string[]> {
  const archive = await openArchive({ release: "trixie", architecture: "arm64", directory: cache });
  const files = await archive.fetch(await archive.resolve(names));
  return await Promise.all(files.map(async (file, at) => {
    const directory = join(cache, names[at] ?? "package");
    const { success } = await new Deno.Command("dpkg", { args: ["-x", file, directory] }).output();
    if (!success) throw new Error(`${file} could not be unpacked`);
    return directory;
  }));
}
