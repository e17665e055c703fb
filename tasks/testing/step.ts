/**
 * One step of a suite: Deno with some arguments, in a process group of its own. A step that hangs is
 * ended, with everything it started, and is a failure; so does Ctrl-C end all that run.
 */
import { repository } from "../stack/repository.ts";
import { bold, green, red } from "../terminal/progress.ts";
import { type Counts, countsOf, lastLine } from "./counts.ts";
import { failuresOf, tellFailures } from "./failures.ts";

export interface Step {
  readonly name: string;
  readonly args: readonly string[];
  /** Whether it prints a summary of tests; otherwise it counts as one check. */
  readonly tests?: true;
  /** Whether nothing may run beside it: it holds its times against a machine that is its own. */
  readonly alone?: true;
  readonly timeout_ms: number;
}

const minutes = 60_000;

export interface Ended {
  readonly counts: Counts;
  /** What failed, for whoever reads only the end of the output; empty when nothing did. */
  readonly told: string;
}

/** The process groups that run. */
const groups = new Set<number>();

function end(group: number): void {
  try {
    Deno.kill(-group, "SIGKILL");
  } catch {
    // It has ended.
  }
}

/** Ctrl-C reaches only us: the tests must not be left behind. */
function interrupted(): void {
  for (const group of groups) end(group);
  Deno.exit(130);
}

/** Where a step's output goes: through at once, or, beside another step, whole at its end. */
interface Sink {
  write(bytes: Uint8Array): void;
  say(line: string): void;
  close(): void;
}

function writeAll(bytes: Uint8Array): void {
  for (let at = 0; at < bytes.length;) at += Deno.stdout.writeSync(bytes.subarray(at));
}

const through: Sink = { write: writeAll, say: (line) => console.log(line), close() {} };

function gathered(): Sink {
  const chunks: Uint8Array[] = [];
  const encoder = new TextEncoder();
  return {
    write: (bytes) => void chunks.push(bytes),
    say: (line) => void chunks.push(encoder.encode(`${line}\n`)),
    close() {
      for (const chunk of chunks.splice(0)) writeAll(chunk);
    },
  };
}

/** Runs Deno as the step says, and says how it ended. @param beside whether another may run meanwhile */
export async function runStep(step: Step, beside: boolean): Promise<Ended> {
  const out = beside ? gathered() : through;
  if (beside) console.log(`-- ${step.name} has begun`);
  out.say(bold(`\n== ${step.name}`));
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
  if (groups.size === 0) Deno.addSignalListener("SIGINT", interrupted);
  groups.add(child.pid);
  let late = false;
  const timer = setTimeout(() => {
    late = true;
    end(child.pid);
  }, step.timeout_ms);
  const gather = async (stream: ReadableStream<Uint8Array>): Promise<string> => {
    const decoder = new TextDecoder();
    let text = "";
    for await (const chunk of stream) {
      out.write(chunk);
      // Only the end can hold the summary.
      text = (text + decoder.decode(chunk, { stream: true })).slice(-200_000);
    }
    return text;
  };
  const both = Promise.all([gather(child.stdout), gather(child.stderr)]);
  const { code } = await child.status;
  clearTimeout(timer);
  // A process that the tests left behind may hold the pipes open for ever.
  const patience = Promise.withResolvers<undefined>();
  const impatient = setTimeout(patience.resolve, 5_000, undefined);
  const texts = await Promise.race([both, patience.promise]);
  clearTimeout(impatient);
  groups.delete(child.pid);
  if (groups.size === 0) Deno.removeSignalListener("SIGINT", interrupted);
  const exitCode = late ? 1 : code;
  let counts: Counts;
  if (step.tests === true) {
    counts = texts === undefined ? { passed: 0, failed: 1 } : countsOf(texts.join("\n"), exitCode);
  } else {
    counts = exitCode === 0 ? { passed: 1, failed: 0 } : { passed: 0, failed: 1 };
  }
  const seconds = ((performance.now() - started) / 1_000).toFixed(1);
  if (late) out.say(red(`${step.name} was ended after ${step.timeout_ms / minutes} minutes`));
  out.say(
    `${counts.failed === 0 ? green("ok") : red("FAILED")} ${step.name}: ${
      lastLine(counts)
    } (${seconds} s)`,
  );
  out.close();
  if (counts.failed === 0) return { counts, told: "" };
  const failures = step.tests === true ? failuresOf(texts?.[0] ?? "") : [];
  return { counts, told: [`${step.name}:`, tellFailures(failures)].filter(Boolean).join("\n") };
}
