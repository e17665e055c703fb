import assert from "node:assert/strict";
import { repository } from "../stack/repository.ts";
import type { Step } from "./step.ts";
import { checkSteps, endToEndSteps, imageSteps, integrationSteps, soakSteps } from "./suites.ts";

async function* testFiles(folder: string): AsyncGenerator<string> {
  for await (const entry of Deno.readDir(`${repository}/${folder}`)) {
    const name = `${folder}/${entry.name}`;
    if (entry.isDirectory) yield* testFiles(name);
    else if (/_test\.tsx?$/.test(name)) yield name;
  }
}

/** Whether the step runs this file: it, or a folder that it is in, is named and not ignored. */
function runs(step: Step, file: string): boolean {
  const within = (path: string) => file === path || file.startsWith(`${path}/`);
  const ignored = step.args.find((one) => one.startsWith("--ignore="))?.slice(9).split(",") ?? [];
  return step.tests === true && step.args.some(within) && !ignored.some(within);
}

Deno.test("every test file is run by one step of one suite, and by no other", async () => {
  const steps = [
    ...[...checkSteps, ...integrationSteps(), ...endToEndSteps()],
    ...[...soakSteps(), ...imageSteps()],
  ];
  let files = 0;
  for (const folder of ["services", "ffi", "tasks", "image", "tests"]) {
    for await (const file of testFiles(folder)) {
      files++;
      const by = steps.filter((step) => runs(step, file)).map(({ name }) => name);
      assert.equal(by.length, 1, `${file} is run by ${by.join(" and ") || "no step"}`);
    }
  }
  assert.ok(files > 200, `${files} files`);
});
