/**
 * A guest that is up in seconds where a Debian guest takes most of a minute without KVM: Debian's
 * cloud kernel, busybox, an SSH server and the ext4 tools, as a UEFI disk image that is registered
 * and launched like any other. What it does at boot is in `tiny_guest/etc/rc`: DHCP, instance metadata
 * by IMDSv2, the key pair for `root` and `debian`, user data once per instance. It says
 * `tiny-guest: ready instance=i-…` on the serial console when SSH answers, follows hot-plugged disks
 * (`/dev/disk/by-id/virtio-SERIAL`) and the power button, and runs QEMU's guest agent where the machine has a channel for it. Its root is in memory; `/data` is a
 * partition of the root volume.
 *
 * The image is made once per recipe and architecture below `~/.cache/mulga/tiny-guest`, from Debian
 * packages that are fetched but not installed. Needs no root, no mounts, no loop devices.
 */
import { join } from "node:path";
import {
  type Architecture,
  type Archive,
  hostArchitecture,
  openArchive,
} from "../../image/guest/debian_archive.ts";
import { cpio, type CpioEntry } from "./cpio.ts";

/** Printed on the serial console when the guest takes SSH connections, followed by its instance id. */
export const tinyGuestReady = "tiny-guest: ready instance=";
/** Printed when a user data script has ended, followed by its exit status. */
export const tinyGuestUserDataDone = "tiny-guest: user data ended with status ";

const release = "trixie";
const MiB = 1024 * 1024;
const sector = 512;

/** Loaded in this order, each after what it needs. */
const modules = [
  "failover",
  "net_failover",
  "virtio_net",
  "virtio_blk",
  "virtio-rng",
  "evdev",
  "button",
];

/** Programs by the package they come from, with the shared libraries that they load. */
const contents: Readonly<Record<string, readonly RegExp[]>> = {
  "busybox-static": [/^usr\/bin\/busybox$/],
  "dropbear-bin": [/^usr\/sbin\/dropbear$/, /^usr\/bin\/dropbearkey$/],
  "e2fsprogs": [
    /^usr\/sbin\/(mke2fs|mkfs\.ext4|e2fsck|fsck\.ext4|resize2fs)$/,
    /^etc\/mke2fs\.conf$/,
  ],
  "libatomic1": [/\/libatomic\.so\.1/],
  "libblkid1": [/\/libblkid\.so\.1/],
  "libc6": [/\/ld-linux[^/]*\.so/, /\/lib(c|m|resolv)\.so\.6$/, /\/libresolv\.so\.2$/],
  "libcap2": [/\/libcap\.so\.2/],
  "libcom-err2": [/\/libcom_err\.so\.2/],
  "libcrypt1": [/\/libcrypt\.so\.1/],
  "libext2fs2t64": [/\/lib(ext2fs|e2p)\.so\.2/],
  "libglib2.0-0t64": [/\/lib(glib|gmodule)-2\.0\.so\.0/],
  "libgmp10": [/\/libgmp\.so\.10/],
  "libnuma1": [/\/libnuma\.so\.1/],
  "libpcre2-8-0": [/\/libpcre2-8\.so\.0/],
  "libtomcrypt1": [/\/libtomcrypt\.so\.1/],
  "libtommath1": [/\/libtommath\.so\.1/],
  "libudev1": [/\/libudev\.so\.1/],
  "liburing2": [/\/liburing\.so\.2/],
  "libuuid1": [/\/libuuid\.so\.1/],
  "qemu-guest-agent": [/^usr\/sbin\/qemu-ga$/],
  "zlib1g": [/\/libz\.so\.1/],
};

const byArchitecture = {
  x86_64: {
    kernel: "linux-image-cloud-amd64",
    loader: "usr/lib/systemd/boot/efi/systemd-bootx64.efi",
    removable: "BOOTX64.EFI",
    // As in the Debian image: the timer's check at boot hangs on a loaded host without KVM.
    console: "ttyS0,115200 no_timer_check",
  },
  arm64: {
    kernel: "linux-image-cloud-arm64",
    loader: "usr/lib/systemd/boot/efi/systemd-bootaa64.efi",
    removable: "BOOTAA64.EFI",
    console: "ttyAMA0,115200",
  },
} as const;

async function run(
  program: string,
  args: readonly string[],
  stdin?: string,
): Promise<Uint8Array<ArrayBuffer>> {
  const child = new Deno.Command(program, {
    args: [...args],
    env: { PATH: `${Deno.env.get("PATH") ?? ""}:/usr/sbin:/sbin`, LC_ALL: "C.UTF-8" },
    stdin: stdin === undefined ? "null" : "piped",
    stdout: "piped",
    stderr: "piped",
  }).spawn();
  if (stdin !== undefined) {
    const writer = child.stdin.getWriter();
    await writer.write(new TextEncoder().encode(stdin));
    await writer.close();
  }
  const { success, stdout, stderr } = await child.output();
  if (!success) {
    throw new Error(`${program} failed: ${new TextDecoder().decode(stderr).trim()}`);
  }
  return stdout;
}

async function* filesBelow(directory: string, below = ""): AsyncGenerator<string> {
  const names: Deno.DirEntry[] = [];
  for await (const entry of Deno.readDir(join(directory, below))) names.push(entry);
  for (const entry of names.sort((a, b) => a.name < b.name ? -1 : 1)) {
    const path = below === "" ? entry.name : `${below}/${entry.name}`;
    if (entry.isDirectory) yield* filesBelow(directory, path);
    else yield path;
  }
}

/** Unpacks packages below `into` and answers the directory. */
async function unpack(archive: Archive, names: readonly string[], into: string): Promise<string> {
  for (const file of await archive.fetch(await archive.resolve(names))) {
    await run("dpkg-deb", ["-x", file, into]);
  }
  return into;
}

/** The guest's whole file system: our tree, busybox' commands, programs, libraries and modules. */
async function rootFiles(packages: string, kernel: string): Promise<CpioEntry[]> {
  const files = new Map<string, CpioEntry>();
  const add = (entry: CpioEntry) => files.set(entry.path, entry);
  const patterns = Object.values(contents).flat();
  for await (const path of filesBelow(packages)) {
    if (!patterns.some((pattern) => pattern.test(path))) continue;
    const source = join(packages, path);
    const info = await Deno.lstat(source);
    if (info.isSymlink) add({ path, kind: "link", target: await Deno.readLink(source) });
    else {
      const content = await Deno.readFile(source);
      add({ path, kind: "file", mode: (info.mode ?? 0o644) & 0o777, content });
    }
  }
  const busybox = join(packages, "usr/bin/busybox");
  const commands = new TextDecoder().decode(await run(busybox, ["--list"])).trim().split("\n");
  for (const command of commands) {
    const taken = ["bin", "sbin"].some((place) => files.has(`usr/${place}/${command}`));
    if (!taken) add({ path: `usr/bin/${command}`, kind: "link", target: "busybox" });
  }
  for (const name of modules) {
    let found: string | undefined;
    for await (const path of filesBelow(kernel)) {
      if (path.endsWith(`/${name}.ko.xz`) || path.endsWith(`/${name}.ko`)) found = path;
    }
    if (found === undefined) throw new Error(`Debian's cloud kernel has no module ${name}.`);
    const source = join(kernel, found);
    const content = found.endsWith(".xz")
      ? await run(busybox, ["xzcat", source])
      : await Deno.readFile(source);
    add({ path: `usr/lib/modules/${name}.ko`, kind: "file", mode: 0o644, content });
  }
  const order = new TextEncoder().encode(modules.map((name) => `${name}.ko\n`).join(""));
  add({ path: "usr/lib/modules/order", kind: "file", mode: 0o644, content: order });
  const tree = join(import.meta.dirname ?? ".", "tiny_guest");
  for await (const source of filesBelow(tree)) {
    // Debian's layout: /bin and /sbin are links into /usr.
    const path = source.replace(/^(bin|sbin)\//, "usr/$1/");
    const executable = /^(init|bin\/|sbin\/|etc\/rc|etc\/acpi\/|usr\/share\/udhcpc\/)/.test(source);
    const content = await Deno.readFile(join(tree, source));
    add({ path, kind: "file", mode: executable ? 0o755 : 0o644, content });
  }
  for (const place of ["bin", "sbin", "lib", "lib64"]) {
    add({ path: place, kind: "link", target: `usr/${place}` });
  }
  for (const path of ["dev", "proc", "sys", "run", "tmp", "root", "home/debian", "data", "mnt"]) {
    add({ path, kind: "directory", mode: 0o755 });
  }
  // The kernel opens it before /init has mounted anything.
  add({ path: "dev/console", kind: "device", mode: 0o600, major: 5, minor: 1 });
  for (const path of [...files.keys()]) {
    for (let cut = path.lastIndexOf("/"); cut > 0; cut = path.lastIndexOf("/", cut - 1)) {
      const parent = path.slice(0, cut);
      if (!files.has(parent)) add({ path: parent, kind: "directory", mode: 0o755 });
    }
  }
  return [...files.values()].sort((a, b) => a.path < b.path ? -1 : a.path > b.path ? 1 : 0);
}

async function gzip(bytes: Uint8Array<ArrayBuffer>): Promise<Uint8Array<ArrayBuffer>> {
  const packed = new Blob([bytes]).stream().pipeThrough(new CompressionStream("gzip"));
  return new Uint8Array(await new Response(packed).arrayBuffer());
}

/** A GPT disk with a boot partition that holds `boot`'s files, and a small ext4 partition. */
async function writeDisk(path: string, boot: ReadonlyMap<string, string>, scratch: string) {
  let bootBytes = 2 * MiB;
  for (const source of boot.values()) bootBytes += (await Deno.stat(source)).size;
  const bootSize = Math.ceil(bootBytes / MiB) * MiB;
  const dataSize = 16 * MiB;

  const esp = join(scratch, "esp.img");
  await Deno.writeFile(esp, new Uint8Array());
  await Deno.truncate(esp, bootSize);
  await run("mkfs.vfat", ["-n", "ESP", esp]);
  const directories = new Set<string>();
  for (const target of boot.keys()) {
    const parts = target.split("/").slice(0, -1);
    parts.forEach((_, index) => directories.add(parts.slice(0, index + 1).join("/")));
  }
  for (const directory of directories) await run("mmd", ["-i", esp, `::/${directory}`]);
  for (const [target, source] of boot) await run("mcopy", ["-i", esp, source, `::/${target}`]);

  const data = join(scratch, "data.img");
  await Deno.writeFile(data, new Uint8Array());
  await Deno.truncate(data, dataSize);
  await run("mke2fs", ["-q", "-F", "-t", "ext4", "-L", "tiny-data", "-m", "0", data]);

  const disk = join(scratch, "disk.img");
  await Deno.writeFile(disk, new Uint8Array());
  await Deno.truncate(disk, bootSize + dataSize + 2 * MiB);
  await run(
    "sfdisk",
    ["--quiet", disk],
    [
      "label: gpt",
      `start=${MiB / sector}, size=${bootSize / sector}, type=uefi, name=esp`,
      `start=${(MiB + bootSize) / sector}, size=${dataSize / sector}, type=linux, name=tiny-data`,
      "",
    ].join("\n"),
  );
  using file = await Deno.open(disk, { write: true });
  for (const [source, at] of [[esp, MiB], [data, MiB + bootSize]] as const) {
    await file.seek(at, Deno.SeekMode.Start);
    const bytes = await Deno.readFile(source);
    for (let done = 0; done < bytes.length;) done += await file.write(bytes.subarray(done));
  }
  await Deno.rename(disk, path);
}

async function build(architecture: Architecture, cache: string, path: string): Promise<void> {
  const scratch = await Deno.makeTempDir({ dir: cache, prefix: "build-" });
  try {
    const parts = byArchitecture[architecture];
    const archive = await openArchive({
      release,
      architecture,
      directory: join(cache, `archive-${architecture}`),
    });
    const packages = await unpack(archive, Object.keys(contents), join(scratch, "packages"));
    const image = (await archive.dependencies(parts.kernel)).find((name) =>
      name.startsWith("linux-image-")
    );
    if (image === undefined) throw new Error(`${parts.kernel} names no kernel package.`);
    const kernel = await unpack(archive, [image, "systemd-boot-efi"], join(scratch, "kernel"));
    const version = image.slice("linux-image-".length);

    const initrd = join(scratch, "initrd");
    await Deno.writeFile(initrd, await gzip(cpio(await rootFiles(packages, kernel))));
    const entry = join(scratch, "entry.conf");
    await Deno.writeTextFile(
      entry,
      [
        "title tiny guest",
        "linux /linux",
        "initrd /initrd",
        `options console=${parts.console} panic=5 quiet`,
        "",
      ].join("\n"),
    );
    const loader = join(scratch, "loader.conf");
    await Deno.writeTextFile(loader, "timeout 0\n");
    await writeDisk(
      path,
      new Map([
        [`EFI/BOOT/${parts.removable}`, join(kernel, parts.loader)],
        ["loader/loader.conf", loader],
        ["loader/entries/tiny.conf", entry],
        ["linux", join(kernel, `boot/vmlinuz-${version}`)],
        ["initrd", initrd],
      ]),
      scratch,
    );
  } finally {
    await Deno.remove(scratch, { recursive: true });
  }
}

/** Changes whenever anything that this image is made from changes, except Debian's packages. */
async function recipe(architecture: Architecture): Promise<string> {
  const here = import.meta.dirname ?? ".";
  const texts = [architecture, release];
  for (const file of ["tiny_guest.ts", "cpio.ts"]) {
    texts.push(await Deno.readTextFile(join(here, file)));
  }
  const tree = join(here, "tiny_guest");
  for await (const path of filesBelow(tree)) {
    texts.push(path, await Deno.readTextFile(join(tree, path)));
  }
  const digest = await crypto.subtle.digest("SHA-256", new TextEncoder().encode(texts.join("\0")));
  return new Uint8Array(digest).toHex().slice(0, 16);
}

/**
 * Path of the tiny guest's raw disk image, about 40 MiB, for the machine's own architecture. The
 * first call makes it, in some ten seconds; others wait for it, in this process or another. The
 * file is shared: boot it through an overlay or an import, never writable.
 */
export async function tinyGuestImage(): Promise<string> {
  const architecture = hostArchitecture();
  const base = Deno.env.get("XDG_CACHE_HOME") ?? join(Deno.env.get("HOME") ?? "/root", ".cache");
  const cache = join(base, "mulga", "tiny-guest");
  await Deno.mkdir(cache, { recursive: true });
  const path = join(cache, `${await recipe(architecture)}.raw`);
  using lock = await Deno.open(join(cache, "lock"), { create: true, write: true });
  await lock.lock(true);
  try {
    await Deno.stat(path);
    return path;
  } catch (error) {
    if (!(error instanceof Deno.errors.NotFound)) throw error;
  }
  const yesterday = Date.now() - 24 * 3_600_000;
  for await (const entry of Deno.readDir(cache)) {
    const file = join(cache, entry.name);
    // What a killed build left behind; the lock says that none is running. And images of recipes
    // that nobody has any more.
    const stale = entry.name.startsWith("build-") || entry.name.endsWith(".raw") &&
        ((await Deno.stat(file)).mtime?.getTime() ?? 0) < yesterday;
    if (stale) await Deno.remove(file, { recursive: true });
  }
  await build(architecture, cache, path);
  return path;
}

if (import.meta.main) console.log(await tinyGuestImage());
