/** `hive usage --by tag:NAME`: what accounts use, for sharing the costs. */
import { onNode } from "../../../services/bus/subject.ts";
import { noUsage, usage, type UsageRow } from "../../../services/compute/contract.ts";
import { listAccounts } from "../../../services/identity/contract.ts";
import { type BucketUsage, s3Usage } from "../../../services/predastore/contract.ts";
import { CommandError, dataDirOption, jsonOption, parse } from "../../terminal/command.ts";
import { bytes, table } from "../../terminal/table.ts";
import type { HiveCommand } from "../hive_command.ts";
import { busOf, nodeOf } from "../node.ts";

export interface ReportRow extends UsageRow {
  readonly s3_bytes: number;
}

/** Buckets beside the rest, by account and value. */
export function reportOf(
  tag: string,
  rows: readonly UsageRow[],
  buckets: readonly BucketUsage[],
): ReportRow[] {
  const keyOf = (account: string, value: string | undefined) =>
    JSON.stringify([account, value === undefined ? 1 : 0, value ?? ""]);
  const merged = new Map<string, ReportRow>(
    rows.map((row) => [keyOf(row.account_id, row.value), { ...row, s3_bytes: 0 }]),
  );
  for (const { account_id, tags, bytes: held } of buckets) {
    const value = Object.hasOwn(tags, tag) ? tags[tag] : undefined;
    const key = keyOf(account_id, value);
    const row = merged.get(key) ?? {
      account_id,
      ...(value === undefined ? {} : { value }),
      ...noUsage,
      s3_bytes: 0,
    };
    merged.set(key, { ...row, s3_bytes: row.s3_bytes + held });
  }
  return [...merged].sort(([one], [other]) => one < other ? -1 : 1).map(([, row]) => row);
}

const hours = (count: number) => count.toFixed(1);

export const usageCommand: HiveCommand = {
  words: ["usage"],
  summary: "What accounts use, by the values of a tag",
  async run(args) {
    const parsed = parse({
      name: "hive usage",
      summary: "Tells what each account uses, by the values of a tag: for sharing costs.",
      options: {
        by: { type: "string", value: "tag:NAME", help: "The tag whose values are told apart" },
        ...jsonOption,
        ...dataDirOption,
      },
      notes: [
        "It tells what is there now and since when: volumes since they were made or last grew, instances",
        "since they were started last. Snapshot bytes are what is not zero in them; those that share blocks",
        "count them each. S3 bytes are before redundancy. What was deleted is not in it.",
      ],
    }, args);
    if (parsed === undefined) return;
    const tag = /^tag:(.+)$/.exec(parsed.options.by ?? "")?.[1];
    if (tag === undefined) {
      throw new CommandError("Name the tag: hive usage --by tag:NAME, for example tag:project.", 2);
    }
    const node = await nodeOf(parsed.options["data-dir"]);
    await using bus = await busOf(node);
    const [rows, buckets, accounts] = await Promise.all([
      bus.ask(usage, { tag }),
      bus.ask(onNode(node.config.node_id, s3Usage), null),
      bus.ask(listAccounts, null),
    ]);
    const report = reportOf(tag, rows, buckets);
    if (parsed.options.json === true) {
      console.log(JSON.stringify(report, null, 2));
      return;
    }
    const names = new Map(accounts.map(({ account_id, name }) => [account_id, name]));
    console.log(table(
      [
        "ACCOUNT",
        tag,
        "VOLUMES",
        "GIB",
        "GIB-HOURS",
        "RUNNING",
        "HOURS",
        "VCPU-HOURS",
        "SNAPSHOTS",
        "BYTES",
        "S3",
      ],
      report.map((row) => [
        names.get(row.account_id) ?? row.account_id,
        row.value ?? "(no tag)",
        String(row.volumes),
        String(row.volume_gib),
        hours(row.volume_gib_hours),
        String(row.instances),
        hours(row.instance_hours),
        hours(row.vcpu_hours),
        String(row.snapshots),
        bytes(row.snapshot_bytes),
        bytes(row.s3_bytes),
      ]),
    ));
  },
};
