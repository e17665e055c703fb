/**
 * Makes services/gateway/COVERAGE.md: every operation that the gateway hands on, whether it has an
 * effect or is a record, and which tests called it through an AWS client over HTTPS. Nothing in it is
 * written by hand: operations come from the dispatch table, calls from what the gateway of each test noted
 * (audit entries, or its log where it is a process of its own). With `--check` it fails when the table
 * in the repository is another one.
 */
import { queryService } from "../services/aws/schema/catalog.ts";
import { computeRecordActions } from "../services/compute/contract.ts";
import { ownedActions } from "../services/gateway/dispatch.ts";
import { vpcdActions } from "../services/vpcd/contract.ts";
import type { RecordedCalls } from "../tests/kit/recorded_calls.ts";
import { CommandError, parse, runCommand } from "./terminal/command.ts";

const repository = new URL("../", import.meta.url).pathname;
const table = `${repository}services/gateway/COVERAGE.md`;

/** Tests that call through the SDK or the CLI, signed and over HTTPS. */
const folders = ["tests/compute", "tests/vpcd", "tests/gateway", "tests/identity", "tests/soak"];

async function clientTests(): Promise<string[]> {
  const found: string[] = [];
  for (const folder of folders) {
    for await (const entry of Deno.readDir(repository + folder)) {
      if (!entry.name.endsWith("_test.ts")) continue;
      const path = `${folder}/${entry.name}`;
      const text = await Deno.readTextFile(repository + path);
      if (/kit\/(?:gateway|gateway_process|ec2_cloud|ec2_scenario|iam_cloud|node)\.ts/.test(text)) {
        found.push(path);
      }
    }
  }
  return found.sort();
}

/** Runs one file and answers what it called. @throws Error when a test fails */
async function callsOf(path: string): Promise<RecordedCalls> {
  const file = await Deno.makeTempFile({ prefix: "mulga-calls-", suffix: ".json" });
  try {
    await Deno.remove(file);
    const { code, stdout, stderr } = await new Deno.Command(Deno.execPath(), {
      args: ["test", "-A", "--no-check", "--quiet", path],
      cwd: repository,
      env: { MULGA_RECORD_CALLS: file },
      stdout: "piped",
      stderr: "piped",
    }).output();
    if (code !== 0) {
      throw new Error(
        `${path} fails; its calls cannot be counted.\n${
          new TextDecoder().decode(stdout).slice(-3000)
        }${new TextDecoder().decode(stderr).slice(-1000)}`,
      );
    }
    return JSON.parse(await Deno.readTextFile(file).catch(() => "{}"));
  } finally {
    await Deno.remove(file).catch(() => {});
  }
}

type Answered = ReadonlyMap<string, readonly string[]>;

/** Operation to the tests in which it was answered at least once; a refusal alone proves too little. */
async function answeredCalls(): Promise<Answered> {
  const answered = new Map<string, string[]>();
  for (const path of await clientTests()) {
    console.error(`running ${path}`);
    for (const [name, { answered: count }] of Object.entries(await callsOf(path))) {
      if (count > 0) answered.set(name, [...answered.get(name) ?? [], path]);
    }
  }
  return answered;
}

type Counts = Record<string, { real: number; record: number; untested: number; refused: number }>;

function rowsOf(answered: Answered): { readonly rows: readonly string[]; readonly counts: Counts } {
  const records: ReadonlySet<string> = new Set([...vpcdActions, ...computeRecordActions]);
  const rows: string[] = [];
  const counts: Counts = {};
  for (const [service, actions] of Object.entries(ownedActions)) {
    const count = counts[service] = { real: 0, record: 0, untested: 0, refused: 0 };
    for (const action of [...actions].sort()) {
      const tests = answered.get(`${service}:${action}`) ?? [];
      const kind = tests.length === 0
        ? "untested"
        : service === "ec2" && records.has(action)
        ? "record"
        : "real";
      count[kind]++;
      rows.push(`| ${service} | ${action} | ${kind} | ${tests.join(", ")} |`);
    }
    const known = queryService(service)?.actions.length ?? actions.size;
    count.refused = known - actions.size;
  }
  return { rows, counts };
}

function tableOf(rows: readonly string[], counts: Counts): string {
  return `# What the gateway answers

Made by \`deno task coverage\` from the dispatch table and from the audit entries of the tests that call
through an AWS client over HTTPS. \`real\` has an effect on a guest, a disk or an account; \`record\` keeps
a consistent record with EC2's rules and states, without hardware behind it; \`untested\` is answered, but
no such test has had an answer from it, so that it does not count; \`refused\` is decoded, validated and
answered with \`UnsupportedOperation\` and its name.

| Service | real | record | untested | refused |
| --- | --- | --- | --- | --- |
${
    Object.entries(counts).map(([service, count]) =>
      `| ${service} | ${count.real} | ${count.record} | ${count.untested} | ${count.refused} |`
    ).join("\n")
  }

| Service | Operation | Kind | Tests |
| --- | --- | --- | --- |
${rows.join("\n")}
`;
}

await runCommand(async () => {
  const parsed = parse({
    name: "deno task coverage",
    summary:
      "Runs the tests that call the EC2 API and makes services/gateway/COVERAGE.md from them.",
    options: {
      check: { type: "boolean", help: "Change nothing; fail when the table is another one" },
    },
  }, Deno.args);
  if (parsed === undefined) return;
  const { rows, counts } = rowsOf(await answeredCalls());
  const text = tableOf(rows, counts);
  if (parsed.options.check !== true) await Deno.writeTextFile(table, text);
  else if (await Deno.readTextFile(table).catch(() => "") !== text) {
    throw new CommandError(
      "services/gateway/COVERAGE.md is out of date; `deno task coverage` makes it anew.",
    );
  }
  console.log(JSON.stringify(counts));
});
