/** `deno task image`: builds the appliance image and puts its release into a folder. */
import { join, resolve } from "node:path";
import config from "../deno.json" with { type: "json" };
import { type Appliance, buildAppliance, imageArchitecture } from "../image/appliance/build.ts";
import { compress } from "../image/appliance/compress.ts";
import type { Architecture } from "../image/guest/debian_archive.ts";
import { writeSums } from "../image/signing/release.ts";
import { ensureMachine } from "./setup/setup.ts";
import { repository } from "./stack/repository.ts";
import { buildOptions } from "./build_options.ts";
import { CommandError, parse, runCommand } from "./terminal/command.ts";
import { Progress } from "./terminal/progress.ts";

function architectureOf(text: string): Architecture {
  for (const [architecture, name] of Object.entries(imageArchitecture)) {
    if (name === text) return architecture as Architecture;
  }
  throw new CommandError(
    `There is no architecture "${text}"; there are ${Object.values(imageArchitecture).join(", ")}.`,
    2,
  );
}

async function gitTime_s(): Promise<number | undefined> {
  try {
    const { success, stdout } = await new Deno.Command("git", {
      args: ["-C", repository, "log", "-1", "--format=%ct"],
      stderr: "null",
    }).output();
    const time = Number(new TextDecoder().decode(stdout).trim());
    return success && time > 0 ? time : undefined;
  } catch (error) {
    if (error instanceof Deno.errors.NotFound) return undefined;
    throw error;
  }
}

/** Copies the release's files together, makes the download and signs the list of all. */
async function release(
  appliance: Appliance,
  output: string,
  key: string | undefined,
  progress: Progress,
): Promise<string[]> {
  await Deno.mkdir(output, { recursive: true });
  const stem = `mulgaos_${appliance.version}_${imageArchitecture[appliance.architecture]}`;
  const names = [`${stem}.raw.zst`, `${stem}.manifest`, ...appliance.updateFiles];
  progress.step(`compressing ${stem}.raw`);
  await compress(appliance.raw, join(output, `${stem}.raw.zst`));
  for (const name of names.slice(1)) {
    await Deno.copyFile(join(appliance.directory, name), join(output, name));
  }
  await writeSums(
    output,
    names,
    key === undefined ? undefined : { text: await Deno.readTextFile(key), path: key },
    (name) => progress.update(`summing ${name}`),
  );
  return names;
}

if (import.meta.main) {
  await runCommand(async () => {
    const parsed = parse({
      name: "deno task image",
      summary: "Builds the image that a machine is flashed with, and the files of its update.",
      options: {
        ...buildOptions,
        output: { type: "string", value: "DIR", help: "Where it goes (default: dist/image)" },
        key: {
          type: "string",
          value: "FILE",
          help: "ed25519 private key that signs SHA256SUMS; machines with this image trust it",
        },
        "secure-boot-key": {
          type: "string",
          value: "FILE",
          help: "RSA private key (PEM) that signs boot loader and kernel image",
        },
        "secure-boot-certificate": {
          type: "string",
          value: "FILE",
          help: "Its certificate (default: the key's file with the ending .crt)",
        },
        "no-setup": { type: "boolean", help: "Do not look for missing packages" },
      },
      notes: [
        "Packages, tools and images are kept below ~/.cache/mulga, or where MULGA_IMAGE_CACHE says.",
        "Keys: `deno run -A image/signing/generate.ts FILE`, and for Secure Boot\n" +
        "`openssl req -new -x509 -newkey rsa:2048 -nodes -keyout boot.key -out boot.crt -days 3650 " +
        "-subj '/CN=My MulgaOS/'`.",
      ],
    }, Deno.args);
    if (parsed === undefined) return;
    const { options } = parsed;
    const bootKey = options["secure-boot-key"];
    if (bootKey === undefined && options["secure-boot-certificate"] !== undefined) {
      throw new CommandError("--secure-boot-certificate needs --secure-boot-key.", 2);
    }
    if (options["no-setup"] !== true) await ensureMachine("tests");
    const output = resolve(options.output ?? join(repository, "dist/image"));
    using progress = new Progress("Building the appliance image");
    const time = await gitTime_s();
    const appliance = await buildAppliance({
      version: options.version ?? config.version,
      architecture: architectureOf(options.architecture ?? "x86-64"),
      ...(options.key === undefined ? {} : { key: resolve(options.key) }),
      ...(bootKey === undefined ? {} : {
        secureBoot: {
          key: resolve(bootKey),
          certificate: resolve(
            options["secure-boot-certificate"] ?? bootKey.replace(/(\.[^./]*)?$/, ".crt"),
          ),
        },
      }),
      ...(time === undefined ? {} : { sourceDate_s: time }),
      onProgress: (text) => progress.update(text),
    });
    const names = await release(appliance, output, options.key, progress);
    progress.done(output);
    for (const name of names) {
      const { size } = await Deno.stat(join(output, name));
      console.log(`${(size / 1_000_000).toFixed(1).padStart(8)} MB  ${name}`);
    }
  });
}
