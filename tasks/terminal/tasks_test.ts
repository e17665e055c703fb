import assert from "node:assert/strict";
import { repository } from "../stack/repository.ts";

const { tasks } = JSON.parse(await Deno.readTextFile(`${repository}/deno.json`)) as {
  readonly tasks: Readonly<
    Record<string, { readonly command: string; readonly description: string }>
  >;
};

async function run(command: string, ...args: string[]) {
  const [, ...words] = command.split(" ");
  const { code, stdout, stderr } = await new Deno.Command(Deno.execPath(), {
    args: [...words, ...args],
    cwd: repository,
    env: { NO_COLOR: "1" },
    stdin: "null",
    stdout: "piped",
    stderr: "piped",
  }).output();
  const text = (bytes: Uint8Array) => new TextDecoder().decode(bytes);
  return { code, stdout: text(stdout), stderr: text(stderr) };
}

const simulations = ["sim viperblock", "sim predastore"].map((name) => {
  const [task = "", simulation = ""] = name.split(" ");
  return [name, `${tasks[task]?.command} ${simulation}`] as const;
});

for (
  const [name, command] of [
    ...Object.entries(tasks).map(([name, { command }]) => [name, command] as const),
    ...simulations,
  ]
) {
  Deno.test(`${name}: --help says what it does, and what it does not know is one sentence`, async () => {
    const help = await run(command, "--help");
    assert.equal(help.code, 0, help.stderr);
    assert.match(help.stdout, /^[^\n]{20,}\n\nUsage: \S[^]*--help/);
    const unknown = await run(command, "--no-such-option");
    assert.equal(unknown.code, 2, unknown.stderr);
    assert.match(unknown.stderr, /^[^\n]+\n$/);
    assert.match(unknown.stderr, /--help|Usage/);
  });
}
