/** `deno task deb`: builds the package by which an existing Debian host runs MulgaOS. */
import { resolve } from "node:path";
import config from "../deno.json" with { type: "json" };
import { buildDeb } from "../image/deb/build.ts";
import { buildOptions } from "./build_options.ts";
import { CommandError, parse, runCommand } from "./terminal/command.ts";
import { Progress } from "./terminal/progress.ts";
import { bytes } from "./terminal/table.ts";

const architectures = ["x86-64", "arm64"] as const;

await runCommand(async () => {
  const parsed = parse({
    name: "deno task deb",
    summary: "Builds the package by which an existing Debian 12 or 13 host runs MulgaOS.",
    options: {
      ...buildOptions,
      output: { type: "string", value: "DIR", help: "Where it goes (default: dist)" },
      quick: { type: "boolean", help: "Compress little: for trying it out" },
    },
    notes: [
      "On Debian 13: apt install ./mulgaos_VERSION_ARCH.deb. On Debian 12 with backports among the " +
      "sources: apt install -t bookworm-backports ./mulgaos_VERSION_ARCH.deb.",
    ],
  }, Deno.args);
  if (parsed === undefined) return;
  const { options } = parsed;
  const architecture = architectures.find((one) => one === (options.architecture ?? "x86-64"));
  if (architecture === undefined) {
    throw new CommandError(
      `There is no architecture "${options.architecture}"; there are ${architectures.join(", ")}.`,
      2,
    );
  }
  const version = options.version ?? config.version;
  if (!/^\d+\.\d+\.\d+(-[0-9A-Za-z.]+)?$/.test(version)) {
    throw new CommandError(`"${version}" is no version; one looks like 1.2.3 or 1.2.3-rc.1.`, 2);
  }
  using progress = new Progress("Building the package");
  try {
    const path = await buildDeb({
      architecture,
      version,
      output: resolve(options.output ?? "dist"),
      quick: options.quick ?? false,
      onProgress: (text) => progress.update(text),
    });
    progress.done(`${path} (${bytes((await Deno.stat(path)).size)})`);
    console.log(path);
  } catch (error) {
    progress.fail("not built");
    throw error;
  }
});
