/**
 * QEMU's Raspberry Pi 4, as far as it goes. It has no firmware of its own: what the firmware would do
 * (read config.txt, load what `kernel=` names and the board's device tree) is done here, from the files
 * on the image's first partition. QEMU lacks some of the board's devices, so the kernel stops early.
 */
import { join } from "node:path";
import { host } from "./machine.ts";

const sectorSize = 512;

/** Where the first partition begins. */
async function firstPartition(image: string): Promise<number> {
  const table = JSON.parse(await host("/usr/sbin/sfdisk", "--json", image)) as {
    partitiontable: { partitions: { start: number }[] };
  };
  const start = table.partitiontable.partitions[0]?.start;
  if (start === undefined) throw new Error(`${image} has no partition`);
  return start * sectorSize;
}

/** Files of the image's first partition, read without mounting it. */
export class BootFiles {
  private constructor(readonly drive: string) {}

  static async of(image: string): Promise<BootFiles> {
    return new BootFiles(`${image}@@${await firstPartition(image)}`);
  }

  async copy(name: string, to: string): Promise<void> {
    await host("mcopy", "-n", "-i", this.drive, `::/${name}`, to);
  }

  async put(name: string, content: Uint8Array): Promise<void> {
    const file = await Deno.makeTempFile();
    await Deno.writeFile(file, content);
    await host("mcopy", "-o", "-i", this.drive, file, `::/${name}`);
    await Deno.remove(file);
  }

  async bytes(name: string): Promise<Uint8Array<ArrayBuffer>> {
    const file = await Deno.makeTempFile();
    await host("mcopy", "-n", "-i", this.drive, `::/${name}`, file);
    const content = await Deno.readFile(file);
    await Deno.remove(file);
    return content;
  }

  async names(folder = ""): Promise<string[]> {
    const text = await host("mdir", "-b", "-i", this.drive, `::/${folder}`);
    return text.split("\n").flatMap((line) => /([^/]+)\/?$/.exec(line.trim())?.[1] ?? []);
  }

  async text(name: string): Promise<string> {
    return await host("mtype", "-i", this.drive, `::/${name}`);
  }
}

/** What the firmware of a Pi 4 makes of config.txt; the filters that apply to it are followed. */
export function settingsOf(config: string): ReadonlyMap<string, string> {
  const settings = new Map<string, string>();
  let applies = true;
  for (const line of config.split("\n").map((one) => one.trim())) {
    const filter = /^\[(.+)\]$/.exec(line)?.[1];
    if (filter !== undefined) applies = ["all", "pi4"].includes(filter);
    const [, name, value] = /^([a-z0-9_]+)=(.*)$/.exec(line) ?? [];
    if (applies && name !== undefined && value !== undefined) settings.set(name, value);
  }
  return settings;
}

/** A Pi 4 with the image on its card. The serial line that U-Boot and the kernel use is in a file. */
export class RaspberryPi implements AsyncDisposable {
  #process: Deno.ChildProcess | undefined;

  private constructor(
    readonly directory: string,
    readonly console: string,
    /** The card's first partition; for reading while the board runs. */
    readonly files: BootFiles,
  ) {}

  /** @param variables what U-Boot remembers, instead of nothing */
  static async start(image: string, variables?: Uint8Array): Promise<RaspberryPi> {
    const directory = await Deno.makeTempDir({ prefix: "mulga-pi-" });
    const card = join(directory, "card.raw");
    await host("cp", "--sparse=always", "--reflink=auto", image, card);
    // A card's size is a power of two.
    await host("truncate", "-s", "16G", card);
    const files = await BootFiles.of(card);
    if (variables !== undefined) await files.put("ubootefi.var", variables);
    const settings = settingsOf(await files.text("config.txt"));
    const kernel = join(directory, "kernel");
    const tree = join(directory, "tree.dtb");
    await files.copy(settings.get("kernel") ?? "kernel8.img", kernel);
    await files.copy("bcm2711-rpi-4-b.dtb", tree);
    const pi = new RaspberryPi(directory, join(directory, "console.log"), files);
    pi.#process = new Deno.Command("qemu-system-aarch64", {
      args: [
        ...["-machine", "raspi4b", "-kernel", kernel, "-dtb", tree],
        ...["-drive", `if=sd,format=raw,file=${card}`],
        // The first line is Bluetooth's.
        ...["-display", "none", "-serial", "null", "-serial", `file:${pi.console}`],
      ],
      stdin: "null",
      stdout: "null",
      stderr: "null",
    }).spawn();
    return pi;
  }

  async said(): Promise<string> {
    const text = await Deno.readTextFile(this.console).catch(() => "");
    // deno-lint-ignore no-control-regex
    return text.replaceAll(/\x1b\[[0-9;?]*[a-zA-Z]|\r/g, "");
  }

  async [Symbol.asyncDispose](): Promise<void> {
    try {
      this.#process?.kill("SIGKILL");
    } catch {
      // It has ended by itself.
    }
    await this.#process?.status;
    await Deno.remove(this.directory, { recursive: true });
  }
}
