/** `hive s3 …`: how the object store is, and its scrub and check. */
import { onNode } from "../../../services/bus/subject.ts";
import {
  type BucketCode,
  type FsckReport,
  s3Code,
  s3Fsck,
  s3Scrub,
  s3Status,
} from "../../../services/predastore/contract.ts";
import { CommandError, dataDirOption, jsonOption, parse } from "../../terminal/command.ts";
import { Progress } from "../../terminal/progress.ts";
import { bytes, duration } from "../../terminal/table.ts";
import type { HiveCommand } from "../hive_command.ts";
import { busOf, nodeOf } from "../node.ts";
import { patiently } from "./patience.ts";
import { concerns, describeStatus } from "./status.ts";

const poll_ms = 250;
const pause = () => new Promise((next) => setTimeout(next, poll_ms));

const statusCommand: HiveCommand = {
  words: ["s3", "status"],
  summary: "How the object store is: disks, redundancy, repair, scrub",
  async run(args) {
    const parsed = parse({
      name: "hive s3 status",
      summary: "Shows the object store's directories, redundancy, background work and calls.",
      options: { ...jsonOption, ...dataDirOption },
      notes: ["Exit code: 0 all is well, 1 something is not."],
    }, args);
    if (parsed === undefined) return;
    const node = await nodeOf(parsed.options["data-dir"]);
    await using bus = await busOf(node);
    const status = await bus.ask(onNode(node.config.node_id, s3Status), null);
    console.log(
      parsed.options.json === true ? JSON.stringify(status, null, 2) : describeStatus(status),
    );
    return concerns(status).length === 0 ? 0 : 1;
  },
};

const scrubCommand: HiveCommand = {
  words: ["s3", "scrub"],
  summary: "Read everything that is stored and repair what is damaged",
  async run(args) {
    const parsed = parse({
      name: "hive s3 scrub",
      summary: "Reads every shard and record, slowly, and repairs what is damaged or missing.",
      options: {
        "no-wait": { type: "boolean", help: "Begin it and return" },
        ...jsonOption,
        ...dataDirOption,
      },
      notes: ["It runs by itself once a week; this begins one now. Breaking off does not stop it."],
    }, args);
    if (parsed === undefined) return;
    const node = await nodeOf(parsed.options["data-dir"]);
    await using bus = await busOf(node);
    const subject = onNode(node.config.node_id, s3Scrub);
    let state = await bus.ask(subject, { start: true });
    if (parsed.options["no-wait"] !== true) {
      using progress = new Progress("scrub");
      while (state.running) {
        progress.update(`${bytes(state.bytes_checked)} checked, ${state.damaged} damaged`);
        await pause();
        state = await patiently(() => bus.ask(subject, { start: false }), pause);
      }
      progress.done(`${bytes(state.bytes_checked)} checked, ${state.damaged} damaged`);
    }
    if (parsed.options.json === true) console.log(JSON.stringify(state));
  },
};

function describeReport(report: FsckReport): string {
  const short = report.shards_missing + report.shards_away + report.shards_damaged +
    report.records_short;
  return [
    `${report.objects} objects, ${report.records} records, ${report.shards} shards, ${
      bytes(report.bytes)
    } read in ${duration(report.duration_ms)}`,
    `shards: ${report.shards_missing} missing, ${report.shards_away} away, ${report.shards_damaged} damaged; records with too few copies: ${report.records_short}`,
    ...report.findings.map(({ bucket, key, what, lost }) =>
      `${lost ? "LOST " : ""}${bucket}/${key}: ${what}`
    ),
    report.full_redundancy
      ? "Everything stands with full redundancy."
      : report.lost > 0
      ? `${report.lost} can no longer be read.`
      : short > 0
      ? "Everything can be read; redundancy is not full. Repair brings it back when a disk is there for it."
      : `${report.index_errors} counts of the index are wrong; it is made again when it is removed.`,
  ].join("\n");
}

const fsckCommand: HiveCommand = {
  words: ["s3", "fsck"],
  summary: "Check all that is stored, changing nothing",
  async run(args) {
    const parsed = parse({
      name: "hive s3 fsck",
      summary: "Reads and checks every record and shard and every count, and changes nothing.",
      options: { ...jsonOption, ...dataDirOption },
      notes: ["Exit code: 0 full redundancy, 1 redundancy is not full, 4 something is lost."],
    }, args);
    if (parsed === undefined) return;
    const node = await nodeOf(parsed.options["data-dir"]);
    await using bus = await busOf(node);
    const subject = onNode(node.config.node_id, s3Fsck);
    using progress = new Progress("fsck");
    let answer = await patiently(() => bus.ask(subject, {}), pause);
    const { job } = answer;
    while (answer.report === undefined) {
      if (answer.error !== undefined) throw new CommandError(`The check ended: ${answer.error}`);
      progress.update(`${answer.records} records, ${bytes(answer.bytes)}`);
      await pause();
      answer = await patiently(() => bus.ask(subject, { job }), pause);
    }
    const { report } = answer;
    progress.done(`${report.records} records, ${report.shards} shards`);
    console.log(
      parsed.options.json === true ? JSON.stringify(report, null, 2) : describeReport(report),
    );
    return report.lost > 0 ? 4 : report.full_redundancy ? 0 : 1;
  },
};

function describeCode({ bucket, code, own }: BucketCode): string {
  const [k, m] = code.split("+").map(Number);
  const lost = m === 1 ? "one directory" : `${m} directories`;
  return `${bucket}: ${code}${own ? "" : ", the node's"}; ${k} data and ${m} parity shards, ${
    m === 0 ? "nothing survives a lost directory" : `survives ${lost} lost at a time`
  }`;
}

const codeCommand: HiveCommand = {
  words: ["s3", "code"],
  summary: "Show or set the erasure code of a bucket",
  async run(args) {
    const parsed = parse(
      {
        name: "hive s3 code",
        summary:
          "Shows the erasure code of a bucket, or sets the one for what is written from now on.",
        arguments: "BUCKET [K+M|default]",
        options: { ...jsonOption, ...dataDirOption },
        notes: [
          "K data and M parity shards go to K+M directories, any K of which give back everything. " +
          "What is stored already keeps the code that it was written with. `default` gives the bucket " +
          "the node's code again.",
        ],
      },
      args,
      { min: 1, max: 2 },
    );
    if (parsed === undefined) return;
    const [bucket = "", code] = parsed.positionals;
    const node = await nodeOf(parsed.options["data-dir"]);
    await using bus = await busOf(node);
    const told = await bus.ask(
      onNode(node.config.node_id, s3Code),
      code === undefined ? { bucket } : { bucket, code },
    );
    console.log(parsed.options.json === true ? JSON.stringify(told) : describeCode(told));
  },
};

export const s3Commands: readonly HiveCommand[] = [
  statusCommand,
  codeCommand,
  scrubCommand,
  fsckCommand,
];
