/**
 * The Debian packages that building guest images needs on the host, each with its reason: the one
 * list that setup installs and that `buildGuestImage` checks. Names are those of Debian 12 and 13;
 * `only` marks a package that one of them lacks. Nothing here runs as a service on the host.
 */

export interface HostPackage {
  readonly name: string;
  readonly reason: string;
  /** A program by which its presence is checked without asking dpkg; absent for pure data. */
  readonly program?: string;
  /** A file by which its presence is checked where there is no program. */
  readonly file?: string;
  /** Debian releases that have it; absent means both. */
  readonly only?: readonly (12 | 13)[];
  /** Where Debian 12 must take it from backports. */
  readonly backports?: true;
}

export const guestImagePackages: readonly HostPackage[] = [
  {
    name: "mkosi",
    reason: "builds images from Debian packages (24 or newer)",
    program: "mkosi",
    backports: true,
  },
  {
    name: "systemd",
    reason: "systemd-repart on Debian 12, 254 or newer as mkosi wants it",
    program: "systemctl",
    only: [12],
    backports: true,
  },
  {
    name: "systemd-container",
    reason: "mkosi depends on it",
    program: "systemd-nspawn",
    backports: true,
  },
  {
    name: "systemd-repart",
    reason: "partitions the image",
    program: "systemd-repart",
    only: [13],
  },
  { name: "bubblewrap", reason: "mkosi's sandbox on Debian 12", program: "bwrap", only: [12] },
  { name: "uidmap", reason: "lets mkosi work without being root", program: "newuidmap" },
  {
    name: "debian-archive-keyring",
    reason: "verifies what is downloaded",
    file: "/usr/share/keyrings/debian-archive-keyring.gpg",
  },
  { name: "dosfstools", reason: "makes the boot partition", program: "mkfs.vfat" },
  { name: "mtools", reason: "fills the boot partition without mounting it", program: "mcopy" },
  { name: "e2fsprogs", reason: "makes the root file system", program: "mke2fs" },
  { name: "fdisk", reason: "writes partition tables", program: "sfdisk" },
];
