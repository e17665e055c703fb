/**
 * Looking at a disk image file before it is brought in, and copying it onto a served volume.
 *
 * A file may come from anybody. Its header is read here first, since merely opening an image with
 * qemu-img opens whatever other files it names: a backing file, an external data file, a VMDK
 * descriptor's extents. Only images that are one file and whole are taken; the format is the one
 * that was said, never guessed from the content.
 */
import { AwsError } from "../../aws/errors.ts";

export type ImageFormat = "raw" | "qcow2" | "vmdk" | "vhd";

/** QEMU's own names, where they are others. */
const qemuName = (format: ImageFormat) => format === "vhd" ? "vpc" : format;

export interface ImageFile {
  readonly path: string;
  readonly format: ImageFormat;
  readonly virtual_size_bytes: number;
}

const inspect_ms = 60_000;
const vhdFooter_bytes = 512;
const [fixedVhd, dynamicVhd] = [2, 3];

function refuseImage(message: string, cause?: unknown): AwsError {
  return new AwsError("InvalidDiskImage", message, { cause });
}

interface Finished {
  readonly code: number;
  readonly stdout: string;
  readonly stderr: string;
}

async function qemuImg(args: readonly string[], signal: AbortSignal): Promise<Finished> {
  const { code, stdout, stderr } = await new Deno.Command("qemu-img", {
    args: [...args],
    env: { LC_ALL: "C" },
    stdin: "null",
    stdout: "piped",
    stderr: "piped",
    signal,
  }).output();
  const text = (bytes: Uint8Array) => new TextDecoder().decode(bytes);
  return { code, stdout: text(stdout), stderr: text(stderr) };
}

const firstLine = (text: string) => text.trim().split("\n")[0] ?? "";

async function readAt(file: Deno.FsFile, offset: number, length: number): Promise<Uint8Array> {
  const bytes = new Uint8Array(length);
  await file.seek(offset, Deno.SeekMode.Start);
  let filled = 0;
  while (filled < length) {
    const count = await file.read(bytes.subarray(filled));
    if (count === null) break;
    filled += count;
  }
  return bytes.subarray(0, filled);
}

const ascii = (bytes: Uint8Array) => new TextDecoder("latin1").decode(bytes);

/** What the file's own first bytes say that it is; `raw` where they say nothing. */
function formatOf(header: Uint8Array): string {
  const start = ascii(header.subarray(0, 512));
  if (start.startsWith("QFI\xfb")) return "qcow2";
  if (start.startsWith("KDMV")) return "vmdk";
  if (start.startsWith("# Disk DescriptorFile")) return "a VMDK descriptor";
  if (start.startsWith("COWD")) return "an old VMDK";
  if (start.startsWith("conectix")) return "vhd";
  if (start.startsWith("vhdxfile")) return "vhdx";
  if (start.startsWith("QED\0")) return "qed";
  return "raw";
}

function checkQcow2(header: Uint8Array): void {
  const view = new DataView(header.buffer, header.byteOffset, header.byteLength);
  if (header.length < 72) throw refuseImage("The qcow2 image is cut short.");
  if (view.getBigUint64(8) !== 0n) {
    throw refuseImage(
      "The qcow2 image needs a backing file. Flatten it first: qemu-img convert -O qcow2 IN OUT",
    );
  }
  if (view.getUint32(32) !== 0) {
    throw refuseImage("The qcow2 image is encrypted. Decrypt it first.");
  }
  const externalData = 4n;
  if (
    view.getUint32(4) >= 3 && header.length >= 80 && (view.getBigUint64(72) & externalData) !== 0n
  ) {
    throw refuseImage("The qcow2 image keeps its data in another file. Convert it to a plain one.");
  }
}

function checkVmdk(header: Uint8Array): void {
  const view = new DataView(header.buffer, header.byteOffset, header.byteLength);
  // Without a capacity of its own the header only leads to a descriptor, which may name any file.
  if (header.length < 512 || view.getBigUint64(12, true) === 0n) {
    throw refuseImage(
      "The VMDK is not one whole file. Convert it: qemu-img convert -O vmdk IN OUT",
    );
  }
}

/** A raw disk whose partition table ends beyond the file has lost its end. */
async function checkRaw(file: Deno.FsFile, size_bytes: number): Promise<void> {
  const table = await readAt(file, 512, 92);
  if (table.length < 92 || !ascii(table).startsWith("EFI PART")) return;
  const view = new DataView(table.buffer, table.byteOffset, table.byteLength);
  const lastSector = view.getBigUint64(32, true);
  if ((lastSector + 1n) * 512n > BigInt(size_bytes)) {
    throw refuseImage(
      `The image is cut short: its partition table ends at byte ${
        (lastSector + 1n) * 512n
      } and the file at ${size_bytes}.`,
    );
  }
}

/** A VHD says what it is in its last sector; one that is a difference names the file that it differs from. */
async function checkVhd(file: Deno.FsFile, size_bytes: number): Promise<void> {
  const footer = await readAt(file, Math.max(0, size_bytes - vhdFooter_bytes), vhdFooter_bytes);
  if (footer.length < vhdFooter_bytes || !ascii(footer).startsWith("conectix")) {
    throw refuseImage("The VHD is cut short: its last sector is no footer.");
  }
  const type = new DataView(footer.buffer).getUint32(60);
  if (type !== fixedVhd && type !== dynamicVhd) {
    throw refuseImage("The VHD is not one whole disk. Convert it to a fixed or dynamic one.");
  }
}

async function checkHeader(path: string, format: ImageFormat): Promise<void> {
  let file: Deno.FsFile;
  try {
    file = await Deno.open(path, { read: true });
  } catch (cause) {
    throw refuseImage(`${path} cannot be read by the compute service.`, cause);
  }
  using opened = file;
  const { isFile, size } = await opened.stat();
  if (!isFile) throw refuseImage(`${path} is not a file.`);
  if (size === 0) throw refuseImage(`${path} is empty.`);
  const header = await readAt(opened, 0, 1024);
  const found = formatOf(header);
  // A fixed VHD begins with the disk itself.
  if (found !== format && !(format === "vhd" && found === "raw")) {
    throw refuseImage(`${path} is ${found}, and not ${format}.`);
  }
  if (format === "qcow2") checkQcow2(header);
  else if (format === "vmdk") checkVmdk(header);
  else if (format === "vhd") await checkVhd(opened, size);
  else await checkRaw(opened, size);
}

/**
 * Looks at an image file.
 * @throws AwsError `InvalidDiskImage` for what is missing, of another format, not one file, corrupt
 *   or cut short
 */
export async function inspectImage(
  path: string,
  format: ImageFormat,
  signal: AbortSignal,
): Promise<ImageFile> {
  if (!path.startsWith("/")) throw refuseImage("The path of an image must be absolute.");
  await checkHeader(path, format);
  const bounded = AbortSignal.any([signal, AbortSignal.timeout(inspect_ms)]);
  // `--image-opts` would read options out of a name; a plain absolute path has no protocol in it.
  const info = await qemuImg(["info", "--output=json", "-f", qemuName(format), path], bounded);
  if (info.code !== 0) {
    throw refuseImage(`${path} is not a valid ${format} image: ${firstLine(info.stderr)}`);
  }
  let parsed: Record<string, unknown>;
  try {
    parsed = JSON.parse(info.stdout);
  } catch (cause) {
    throw refuseImage(`${path} is not a valid ${format} image.`, cause);
  }
  if (parsed["backing-filename"] !== undefined || parsed["full-backing-filename"] !== undefined) {
    throw refuseImage(`${path} needs another file, its backing file. Flatten it first.`);
  }
  if (parsed["encrypted"] === true) throw refuseImage(`${path} is encrypted. Decrypt it first.`);
  const virtual_size_bytes = Number(parsed["virtual-size"]);
  if (!Number.isSafeInteger(virtual_size_bytes) || virtual_size_bytes <= 0) {
    throw refuseImage(`${path} says that its disk has no size.`);
  }
  // QEMU has no check for VHDs.
  if (format !== "raw" && format !== "vhd") {
    const check = await qemuImg(["check", "--output=json", "-f", format, path], bounded);
    // 3: space that nothing refers to. It wastes room in the file and harms nobody.
    if (check.code !== 0 && check.code !== 3) {
      throw refuseImage(`${path} is corrupt or cut short: ${firstLine(check.stderr)}`);
    }
  }
  return { path, format, virtual_size_bytes };
}

/** The last percentage in a piece of `qemu-img -p` output. */
function percentIn(text: string): number | undefined {
  const found = [...text.matchAll(/\(\s*(\d+(?:\.\d+)?)\/100%\)/g)].at(-1);
  return found === undefined ? undefined : Number(found[1]);
}

/**
 * Copies the image's content onto a new volume that is served over NBD.
 * @param onProgress hears each whole percent
 * @throws AwsError `InvalidDiskImage` when qemu-img cannot read or write
 */
export async function copyOntoVolume(
  image: ImageFile,
  target: { readonly socket: string; readonly volume_id: string },
  onProgress: (percent: number) => void,
  signal: AbortSignal,
): Promise<void> {
  const { code, stderr } = await convert(
    [
      ...["-n", "-W", "--target-is-zero", "-f", qemuName(image.format)],
      ...["--target-image-opts", image.path, nbdOptions(target)],
    ],
    onProgress,
    signal,
  );
  if (code !== 0) throw refuseImage(`Copying ${image.path} failed: ${firstLine(stderr)}`);
}

/** What a volume is written as: one file that needs no other. */
const exported: Readonly<Record<Exclude<ImageFormat, "qcow2">, readonly string[]>> = {
  raw: ["-O", "raw"],
  vmdk: ["-O", "vmdk", "-o", "subformat=streamOptimized"],
  vhd: ["-O", "vpc", "-o", "subformat=dynamic,force_size=on"],
};

/**
 * Copies a served volume into a new file.
 * @throws Error when qemu-img cannot read or write
 */
export async function copyIntoFile(
  source: { readonly socket: string; readonly volume_id: string },
  path: string,
  format: keyof typeof exported,
  onProgress: (percent: number) => void,
  signal: AbortSignal,
): Promise<void> {
  const { code, stderr } = await convert(
    ["--image-opts", ...exported[format], nbdOptions(source), path],
    onProgress,
    signal,
  );
  if (code !== 0) throw new Error(`Writing the volume's file failed: ${firstLine(stderr)}`);
}

function nbdOptions(volume: { readonly socket: string; readonly volume_id: string }): string {
  return [
    "driver=nbd",
    "server.type=unix",
    `server.path=${volume.socket.replaceAll(",", ",,")}`,
    `export=${volume.volume_id}`,
  ].join(",");
}

async function convert(
  args: readonly string[],
  onProgress: (percent: number) => void,
  signal: AbortSignal,
): Promise<Omit<Finished, "stdout">> {
  const child = new Deno.Command("qemu-img", {
    args: ["convert", "-p", ...args],
    env: { LC_ALL: "C" },
    stdin: "null",
    stdout: "piped",
    stderr: "piped",
    signal,
  }).spawn();
  const progress = (async () => {
    let last = -1;
    for await (const bytes of child.stdout) {
      const percent = Math.floor(percentIn(new TextDecoder().decode(bytes)) ?? last);
      if (percent > last) onProgress(last = percent);
    }
  })();
  const [{ code }, stderr] = await Promise.all([
    child.status,
    new Response(child.stderr).text(),
    progress,
  ]);
  signal.throwIfAborted();
  return { code, stderr };
}
