/**
 * Bundles: each service and `hive` as one file, made with `deno bundle`. Code that is started by its
 * address (`new URL("./x.ts", import.meta.url)`: workers) becomes a bundle of its own, and the address
 * is rewritten to where that lies, since in a bundle every module has the bundle's own address.
 *
 * Anything else that code reads relative to itself would be missing on an installed system, so a
 * bundle that still asks for such a file is refused.
 */
import { dirname, join, relative } from "node:path";
import { run } from "../../tasks/setup/debian.ts";
import { repository } from "../../tasks/stack/repository.ts";
import { PayloadError } from "./payload.ts";

interface ModuleGraph {
  readonly modules: readonly { readonly local?: string | null }[];
}

/** Packages in the older module form ask for Node's own modules by `require`, which a bundle lacks. */
const requireOfNode =
  `import{createRequire as makeRequire}from"node:module";const require=makeRequire(import.meta.url);\n`;

const address = /new URL\(\s*"([^"]+)"\s*,\s*import\.meta\.url\s*,?\s*\)/g;

/** The modules that `entry` starts by their address: as written, and below the repository. */
async function startedBy(entry: string): Promise<{ written: string; module: string }[]> {
  const { code, stdout, stderr } = await run(
    [Deno.execPath(), "info", "--quiet", "--json", entry],
    { cwd: repository },
  );
  if (code !== 0) throw new PayloadError(`${entry} has no module graph: ${stderr.trim()}`);
  const graph = JSON.parse(stdout) as ModuleGraph;
  const found: { written: string; module: string }[] = [];
  for (const { local } of graph.modules) {
    if (typeof local !== "string" || !local.startsWith(`${repository}/`)) continue;
    const text = await Deno.readTextFile(local);
    for (const [, written] of text.matchAll(address)) {
      if (written === undefined || !written.endsWith(".ts")) continue;
      found.push({ written, module: relative(repository, join(dirname(local), written)) });
    }
  }
  return found;
}

/**
 * Bundles a module of the repository to `<root><to>`, and what it starts to where it looks for it.
 * @throws PayloadError
 */
export async function bundle(
  entry: string,
  to: string,
  root: string,
  placeOf: (module: string) => string,
): Promise<void> {
  const file = join(root, to);
  await Deno.mkdir(dirname(file), { recursive: true });
  const { code, stderr } = await run([
    ...[Deno.execPath(), "bundle", "--quiet", "--platform", "deno", "--minify", "--keep-names"],
    ...["--frozen", "--output", file, entry],
  ], { cwd: repository });
  if (code !== 0) {
    throw new PayloadError(`${entry} could not be bundled: ${stderr.trim().slice(-1_000)}`);
  }
  let text = await Deno.readTextFile(file);
  for (const { written, module } of await startedBy(entry)) {
    const place = placeOf(module);
    const written_ = JSON.stringify(written);
    text = text.replaceAll(
      address,
      (whole, found: string) =>
        JSON.stringify(found) === written_
          ? `new URL("./${relative(dirname(to), place)}",import.meta.url)`
          : whole,
    );
    await bundle(module, place, root, placeOf);
  }
  await Deno.writeTextFile(file, requireOfNode + text);
  await Deno.chmod(file, 0o644);
}
