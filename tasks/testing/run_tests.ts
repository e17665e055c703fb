/**
 * Runs checks and tests, one step after the other, all of them even when one fails; what they print
 * goes through. Each step has a bound: one that hangs is ended, with everything it started, and is a
 * failure.
 */
import { repository } from "../stack/repository.ts";
import { bold, green, red } from "../terminal/progress.ts";
import { type Counts, countsOf, lastLine, sum } from "./counts.ts";
import { failuresOf, tellFailures } from "./failures.ts";

export interface Step {
  readonly name: string;
  readonly args: readonly string[];
  /** Whether it prints a summary of tests; otherwise it counts as one check. */
  readonly tests?: true;
  readonly timeout_ms: number;
}

const minutes = 60_000;

interface Ended {
  readonly counts: Counts;
  /** What failed, for whoever reads only the end of the output; empty when nothing did. */
  readonly told: string;
}

/** Runs Deno with `args` and says how it ended. */
async function runStep(step: Step): Promise<Ended> {
  console.log(bold(`\n== ${step.name}`));
  const started = performance.now();
  const child = new Deno.Command(Deno.execPath(), {
    args: [...step.args],
    cwd: repository,
    stdin: "null",
    stdout: "piped",
    stderr: "piped",
    // A group of its own, so that a step that hangs ends with all that it started.
    detached: true,
  }).spawn();
  let late = false;
  const timer = setTimeout(() => {
    late = true;
    end(child.pid);
  }, step.timeout_ms);
  // Ctrl-C reaches only us: the tests must not be left behind.
  const interrupted = () => {
    end(child.pid);
    Deno.exit(130);
  };
  Deno.addSignalListener("SIGINT", interrupted);
  const gather = async (
    stream: ReadableStream<Uint8Array>,
    to: { writeSync(bytes: Uint8Array): number },
  ): Promise<string> => {
    const decoder = new TextDecoder();
    let text = "";
    for await (const chunk of stream) {
      for (let at = 0; at < chunk.length;) at += to.writeSync(chunk.subarray(at));
      // Only the end can hold the summary.
      text = (text + decoder.decode(chunk, { stream: true })).slice(-200_000);
    }
    return text;
  };
  const gathered = Promise.all([
    gather(child.stdout, Deno.stdout),
    gather(child.stderr, Deno.stderr),
  ]);
  const { code } = await child.status;
  clearTimeout(timer);
  Deno.removeSignalListener("SIGINT", interrupted);
  // A process that the tests left behind may hold the pipes open for ever.
  const texts = await Promise.race([
    gathered,
    new Promise<undefined>((resolve) => setTimeout(resolve, 5_000, undefined)),
  ]);
  const exitCode = late ? 1 : code;
  let counts: Counts;
  if (step.tests === true) {
    counts = texts === undefined ? { passed: 0, failed: 1 } : countsOf(texts.join("\n"), exitCode);
  } else {
    counts = exitCode === 0 ? { passed: 1, failed: 0 } : { passed: 0, failed: 1 };
  }
  const seconds = ((performance.now() - started) / 1_000).toFixed(1);
  if (late) console.log(red(`${step.name} was ended after ${step.timeout_ms / minutes} minutes`));
  console.log(
    `${counts.failed === 0 ? green("ok") : red("FAILED")} ${step.name}: ${
      lastLine(counts)
    } (${seconds} s)`,
  );
  if (counts.failed === 0) return { counts, told: "" };
  const failures = step.tests === true ? failuresOf(texts?.[0] ?? "") : [];
  return { counts, told: [`${step.name}:`, tellFailures(failures)].filter(Boolean).join("\n") };
}

function end(group: number): void {
  try {
    Deno.kill(-group, "SIGKILL");
  } catch {
    // It has ended.
  }
}

/** What the list of failures, which stands before the last line, begins with. */
export const whatFailed = "What failed:";

/** Runs all steps and prints the one last line. @returns the exit code */
export async function runSteps(steps: readonly Step[]): Promise<number> {
  const all: Ended[] = [];
  for (const step of steps) all.push(await runStep(step));
  const total = sum(all.map(({ counts }) => counts));
  const told = all.map(({ told }) => told).filter(Boolean);
  if (told.length > 0) console.log(`\n${whatFailed}\n${told.join("\n")}`);
  console.log(`\n${lastLine(total)}`);
  return total.failed === 0 && total.passed > 0 ? 0 : 1;
}

/** Our own source folders. */
const sources = ["services", "ffi", "tasks", "tests", "image"];

/** Format, lint, types and unit tests; under a minute. */
export const checkSteps: readonly Step[] = [
  { name: "format", args: ["fmt", "--check"], timeout_ms: 5 * minutes },
  { name: "lint", args: ["lint", "--quiet"], timeout_ms: 5 * minutes },
  { name: "types", args: ["check", "--quiet", ...sources], timeout_ms: 10 * minutes },
  {
    name: "unit tests",
    args: ["test", "-A", "--no-check", "--quiet", ...unitFolders()],
    tests: true,
    timeout_ms: 10 * minutes,
  },
];

function unitFolders(): string[] {
  return ["services", "ffi", "tasks", "image"];
}

/** Folders of `tests/` that are suites of their own. */
const ownSuites = new Set(["e2e", "bench", "fresh", "image", "soak"]);

/** The integration tests: everything under `tests/` that is not a suite of its own. */
export function integrationStep(): Step {
  const targets: string[] = [];
  for (const entry of Deno.readDirSync(`${repository}/tests`)) {
    const name = `tests/${entry.name}`;
    if (entry.isDirectory ? !ownSuites.has(entry.name) && hasTests(name) : isTest(entry.name)) {
      targets.push(name);
    }
  }
  return {
    name: "integration tests",
    args: ["test", "-A", "--no-check", "--quiet", ...targets.sort()],
    tests: true,
    timeout_ms: 20 * minutes,
  };
}

/** The suites with real guests and fresh systems. */
export function endToEndSteps(): Step[] {
  return ["e2e", "fresh"].filter((name) => hasTests(`tests/${name}`)).map((name): Step => ({
    name: `tests/${name}`,
    args: ["test", "-A", "--no-check", "--quiet", `tests/${name}`],
    tests: true,
    timeout_ms: 120 * minutes,
  }));
}

/** Random and long ones, which may find what is new on any day. */
export function soakSteps(): Step[] {
  return [{
    name: "tests/soak",
    args: ["test", "-A", "--no-check", "--quiet", "tests/soak"],
    tests: true,
    timeout_ms: 60 * minutes,
  }];
}

/** The appliance's images in virtual machines, one file after the other. */
export function imageSteps(): Step[] {
  const files: string[] = [];
  for (const { name } of Deno.readDirSync(`${repository}/tests/image`)) {
    if (isTest(name)) files.push(`tests/image/${name}`);
  }
  return files.sort().map((name): Step => ({
    name,
    // Not quietly, which would keep back the figures that they print.
    args: ["test", "-A", "--no-check", name],
    tests: true,
    timeout_ms: 300 * minutes,
  }));
}

const isTest = (name: string) => /_test\.tsx?$/.test(name);

function hasTests(folder: string): boolean {
  try {
    for (const entry of Deno.readDirSync(`${repository}/${folder}`)) {
      if (entry.isDirectory ? hasTests(`${folder}/${entry.name}`) : isTest(entry.name)) return true;
    }
  } catch (error) {
    if (!(error instanceof Deno.errors.NotFound)) throw error;
  }
  return false;
}
