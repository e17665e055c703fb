/** The operator's command against the predastore of a test. */
import assert from "node:assert/strict";
import type { FsckReport } from "../../services/predastore/contract.ts";
import { repository } from "../../tasks/stack/repository.ts";
import type { TestPredastore } from "../kit/predastore.ts";

export async function hive(test: TestPredastore, ...args: string[]) {
  const { code, stdout, stderr } = await new Deno.Command(Deno.execPath(), {
    args: ["run", "-A", "--no-check", `${repository}/tasks/hive.ts`, ...args],
    env: { MULGA_DATA_DIR: test.node.config.data_dir, NO_COLOR: "1" },
  }).output();
  const decoder = new TextDecoder();
  return { code, text: decoder.decode(stdout), said: decoder.decode(stderr) };
}

export async function fsck(test: TestPredastore): Promise<FsckReport> {
  const { text, said } = await hive(test, "s3", "fsck", "--json");
  assert.notEqual(text, "", said);
  return JSON.parse(text);
}
