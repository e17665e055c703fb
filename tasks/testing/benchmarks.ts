/**
 * Runs the benchmarks one after another, so that none disturbs another, and gathers what they print:
 * one line of JSON for each figure, `{name, ratio, detail}`. A benchmark that fails, or prints no
 * figure, is a failure.
 */
import { repository } from "../stack/repository.ts";
import { linesOf } from "../supervisor/log_file.ts";
import { quickCopies } from "../supervisor/service_command.ts";
import { CommandError } from "../terminal/command.ts";
import { table } from "../terminal/table.ts";
import { Progress } from "../terminal/progress.ts";

export interface Figure {
  readonly name: string;
  readonly ratio: number;
  readonly detail?: unknown;
}

/** A printed line as a figure; undefined for anything else. */
function figureOf(line: string): Figure | undefined {
  if (!line.startsWith("{")) return undefined;
  try {
    const value = JSON.parse(line);
    return typeof value.name === "string" && typeof value.ratio === "number" ? value : undefined;
  } catch {
    return undefined;
  }
}

/**
 * @param rest handed to each benchmark
 * @returns the exit code
 * @throws CommandError for a name that no benchmark has
 */
export async function runBenchmarks(
  names: readonly string[],
  json: boolean,
  rest: readonly string[] = [],
): Promise<number> {
  const folder = `${repository}/tests/bench`;
  const all = [...Deno.readDirSync(folder)].map((entry) => entry.name)
    .filter((name) => name.endsWith("_bench.ts")).sort();
  const unknown = names.find((wanted) => !all.some((name) => name.includes(wanted)));
  if (unknown !== undefined) {
    const known = all.map((name) => name.replace(/_bench\.ts$/, "")).join(", ");
    throw new CommandError(`There is no benchmark "${unknown}"; there are ${known}.`, 2);
  }
  const files = all.filter((name) =>
    names.length === 0 || names.some((wanted) => name.includes(wanted))
  );
  const figures: (Figure & { readonly bench: string })[] = [];
  let failed = 0;
  for (const file of files) {
    using progress = new Progress(file.replace(/_bench\.ts$/, ""));
    const child = new Deno.Command(Deno.execPath(), {
      args: ["run", "-A", "--quiet", `tests/bench/${file}`, ...rest],
      cwd: repository,
      // Engines that are measured inside the benchmark's process run as their service does.
      env: quickCopies,
      stdin: "null",
      stdout: "piped",
      stderr: "inherit",
    }).spawn();
    let found = 0;
    for await (const line of linesOf(child.stdout)) {
      const figure = figureOf(line);
      if (figure === undefined) progress.update(line.slice(0, 100));
      else {
        found++;
        figures.push({ bench: file.replace(/_bench\.ts$/, ""), ...figure });
      }
    }
    const { code } = await child.status;
    if (code !== 0 || found === 0) {
      failed++;
      progress.fail(code === 0 ? "printed no figure" : `ended with ${code}`);
    } else progress.done(`${found} figures`);
  }
  if (json) console.log(JSON.stringify(figures, null, 2));
  else {
    console.log(table(
      ["BENCHMARK", "FIGURE", "RATIO", "DETAIL"],
      figures.map((one) => [
        one.bench,
        one.name,
        one.ratio.toFixed(2),
        one.detail === undefined
          ? ""
          : typeof one.detail === "string"
          ? one.detail
          : JSON.stringify(one.detail),
      ]),
    ));
  }
  return failed === 0 ? 0 : 1;
}
