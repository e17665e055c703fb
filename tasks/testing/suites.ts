/**
 * Which steps each suite has. A folder of tests is a step; those that take longest begin first, so that
 * the two lanes end at about the same time. A folder that is not named here comes after them: nothing
 * has to be registered.
 */
import { repository } from "../stack/repository.ts";
import type { Step } from "./step.ts";

const minutes = 60_000;

/** Our own source folders. */
const sources = ["services", "ffi", "tasks", "tests", "image"];

const isTest = (name: string) => /_test\.tsx?$/.test(name);

function testStep(targets: readonly string[], timeout_ms: number, more: Partial<Step> = {}): Step {
  return {
    name: targets.join(", "),
    args: ["test", "-A", "--no-check", "--quiet", ...targets],
    tests: true,
    timeout_ms,
    ...more,
  };
}

/** Format, lint, types and unit tests; about a minute. */
export const checkSteps: readonly Step[] = [
  { name: "types", args: ["check", "--quiet", ...sources], timeout_ms: 10 * minutes },
  testStep(["services"], 10 * minutes, { name: "unit tests of services" }),
  testStep(["ffi", "tasks", "image"], 10 * minutes, { name: "unit tests of the rest" }),
  { name: "format", args: ["fmt", "--check"], timeout_ms: 5 * minutes },
  { name: "lint", args: ["lint", "--quiet"], timeout_ms: 5 * minutes },
];

/** Folders of `tests/` that are suites of their own. */
const ownSuites = new Set(["e2e", "bench", "fresh", "image", "soak"]);

/** What takes longest, the longest first; the appliance's image when it has to be built. */
const long = ["predastore", "viperblock", "sim", "compute", "appliance", "kit"]
  .map((name) => `tests/${name}`);

/** The same of the end-to-end tests: guests boot for minutes. */
const longEndToEnd = ["debian_instance", "faults", "tenants", "volumes", "debian_guest"]
  .map((name) => `tests/e2e/${name}_test.ts`);

/** They hold times of the machine's own against each other. */
const measuring = new Set(["tests/gateway/process_test.ts", "tests/e2e/start_test.ts"]);

/** The integration tests: everything under `tests/` that is not a suite of its own. */
export function integrationSteps(): Step[] {
  const folders: string[] = [];
  for (const entry of Deno.readDirSync(`${repository}/tests`)) {
    const name = `tests/${entry.name}`;
    if (entry.isDirectory ? !ownSuites.has(entry.name) && hasTests(name) : isTest(entry.name)) {
      folders.push(name);
    }
  }
  const ordered = startingWith(long, folders);
  return ordered.flatMap((name) => withoutMeasuring(name, 20 * minutes));
}

/** `names` with those of `first` before the others. */
function startingWith(first: readonly string[], names: readonly string[]): string[] {
  const others = names.filter((name) => !first.includes(name)).sort();
  return [...first.filter((name) => names.includes(name)), ...others];
}

/** The files of `folder` as one step, and each that measures as one of its own. */
function withoutMeasuring(folder: string, timeout_ms: number): Step[] {
  const apart = [...measuring].filter((file) => file.startsWith(`${folder}/`));
  const alone = apart.map((file) => testStep([file], timeout_ms, { alone: true }));
  const step = testStep([folder], timeout_ms);
  if (apart.length === 0) return [step];
  return [{ ...step, args: [...step.args, `--ignore=${apart.join(",")}`] }, ...alone];
}

/** The suites with real guests and fresh systems. */
export function endToEndSteps(): Step[] {
  const files = startingWith(longEndToEnd, testFiles("tests/e2e"));
  return [
    ...files.map((file) =>
      testStep([file], 40 * minutes, measuring.has(file) ? { alone: true } : {})
    ),
    // It begins with downloads and ends alone: what boots for minutes is done by then.
    testStep(["tests/fresh"], 120 * minutes),
  ];
}

/** Random and long ones, which may find what is new on any day. */
export function soakSteps(): Step[] {
  return [testStep(["tests/soak"], 60 * minutes)];
}

/** The appliance's images in virtual machines, one file after the other. */
export function imageSteps(): Step[] {
  return testFiles("tests/image").map((name): Step => ({
    name,
    // Not quietly, which would keep back the figures that they print.
    args: ["test", "-A", "--no-check", name],
    tests: true,
    alone: true,
    timeout_ms: 300 * minutes,
  }));
}

function testFiles(folder: string): string[] {
  const files: string[] = [];
  for (const { name } of Deno.readDirSync(`${repository}/${folder}`)) {
    if (isTest(name)) files.push(`${folder}/${name}`);
  }
  return files.sort();
}

function hasTests(folder: string): boolean {
  for (const entry of Deno.readDirSync(`${repository}/${folder}`)) {
    if (entry.isDirectory ? hasTests(`${folder}/${entry.name}`) : isTest(entry.name)) return true;
  }
  return false;
}
