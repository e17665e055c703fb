/**
 * The Debian packages that MulgaOS stands on: what for, from where, how new. `run` is what a node
 * needs, `tests` what the test suites need beyond it. Nothing here starts a service by itself.
 */
import { guestImagePackages } from "../../image/guest/packages.ts";
import type { Debian } from "./debian.ts";

export type PackageSet = "run" | "tests";

export interface PackageNeed {
  readonly name: string;
  readonly reason: string;
  /** Oldest version that does. */
  readonly atLeast?: string;
  /** Debian 12 takes it from backports. */
  readonly backports?: true;
  /** Only on these releases or this architecture. */
  readonly releases?: readonly (12 | 13)[];
  readonly architecture?: "amd64" | "arm64";
  readonly set: PackageSet;
}

/** Oldest versions of what building images needs; `backports` alone does not say how new. */
const imageVersions: Readonly<Record<string, string>> = {
  mkosi: "24",
  systemd: "254",
  "systemd-container": "254",
};

export const packages: readonly PackageNeed[] = [
  {
    name: "qemu-system-x86",
    reason: "runs guests",
    atLeast: "1:10",
    backports: true,
    architecture: "amd64",
    set: "run",
  },
  { name: "ovmf", reason: "UEFI firmware for guests", architecture: "amd64", set: "run" },
  {
    name: "qemu-system-arm",
    reason: "runs guests",
    atLeast: "1:10",
    backports: true,
    architecture: "arm64",
    set: "run",
  },
  {
    name: "qemu-efi-aarch64",
    reason: "UEFI firmware for guests",
    architecture: "arm64",
    set: "run",
  },
  {
    name: "qemu-utils",
    reason: "reads disk images of other formats",
    atLeast: "1:10",
    backports: true,
    set: "run",
  },
  { name: "libisal2", reason: "Reed-Solomon coding and checksums", set: "run" },
  { name: "libxxhash0", reason: "S3's xxHash checksums", set: "run" },
  { name: "liburing2", reason: "io_uring for the block engine", set: "run" },
  { name: "libssl3", reason: "MD5 at full speed for S3's ETags", releases: [12], set: "run" },
  { name: "libssl3t64", reason: "MD5 at full speed for S3's ETags", releases: [13], set: "run" },
  {
    name: "libipsec-mb1",
    reason: "encryption at rest at full speed beside OpenSSL 3.0; not needed, only quicker",
    releases: [12],
    architecture: "amd64",
    set: "run",
  },
  { name: "socat", reason: "carries a guest's metadata connection", set: "run" },
  { name: "swtpm", reason: "the TPM of guests whose image wants one", set: "run" },
  { name: "openssh-client", reason: "`hive ssh`", set: "run" },
  { name: "ca-certificates", reason: "trust in HTTPS mirrors", set: "run" },
  ...guestImagePackages.map((one): PackageNeed => ({
    name: one.name,
    reason: one.reason,
    ...(imageVersions[one.name] === undefined ? {} : { atLeast: imageVersions[one.name] ?? "" }),
    ...(one.backports === undefined ? {} : { backports: one.backports }),
    ...(one.only === undefined ? {} : { releases: one.only }),
    set: "run",
  })),
  {
    name: "awscli",
    reason: "the AWS CLI as a client under test",
    atLeast: "2.13",
    backports: true,
    set: "tests",
  },
  {
    name: "python3-awscrt",
    reason: "the AWS CLI needs as new a one",
    backports: true,
    releases: [12],
    set: "tests",
  },
  { name: "s3cmd", reason: "an S3 client under test", set: "tests" },
  { name: "rclone", reason: "an S3 client under test", set: "tests" },
  { name: "fio", reason: "block benchmarks", set: "tests" },
  { name: "libnbd-bin", reason: "an NBD client other than QEMU's", set: "tests" },
  // systemd-container of backports brings its own libcurl4, to which Debian 12's own curl does not fit.
  { name: "curl", reason: "an HTTP client other than ours", backports: true, set: "tests" },
  { name: "git", reason: "a clone of what is committed", set: "tests" },
  { name: "mmdebstrap", reason: "fresh Debian roots", set: "tests" },
  { name: "bubblewrap", reason: "enters fresh Debian roots", set: "tests" },
  { name: "busybox-static", reason: "the tiny guest of the tests", set: "tests" },
  { name: "iproute2", reason: "machines of the tests that are network namespaces", set: "tests" },
  { name: "cpio", reason: "the tiny guest's boot archive", set: "tests" },
  { name: "fdisk", reason: "partition tables other than ours", set: "tests" },
  { name: "zstd", reason: "compresses images and the tiny guest's boot archive", set: "tests" },
  // It registers nothing with the kernel; a build does that for its own duration.
  {
    name: "qemu-user",
    reason: "runs arm64 programs while the arm64 image is built",
    atLeast: "1:10",
    backports: true,
    architecture: "amd64",
    set: "tests",
  },
  {
    name: "qemu-system-arm",
    reason: "machines that the arm64 image is started on",
    atLeast: "1:10",
    backports: true,
    architecture: "amd64",
    set: "tests",
  },
  {
    name: "qemu-efi-aarch64",
    reason: "their UEFI firmware",
    architecture: "amd64",
    set: "tests",
  },
];

/** What this system needs for `set`; the tests need everything that running needs too. */
export function packagesFor(system: Debian, set: PackageSet): PackageNeed[] {
  const wanted = packages.filter((one) =>
    (one.set === "run" || set === "tests") &&
    (one.releases === undefined || one.releases.includes(system.release)) &&
    (one.architecture === undefined || one.architecture === system.architecture)
  );
  return wanted.filter((one, at) => wanted.findIndex((other) => other.name === one.name) === at);
}

/** Whether it must come from backports on this system. */
export function fromBackports(one: PackageNeed, system: Debian): boolean {
  return one.backports === true && system.release === 12;
}
