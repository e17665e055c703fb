/** `hive admin quota`: what an account may have at most. */
import { accountQuotas } from "../../../services/compute/contract.ts";
import { CommandError, dataDirOption, jsonOption, parse } from "../../terminal/command.ts";
import { table } from "../../terminal/table.ts";
import type { HiveCommand } from "../hive_command.ts";
import { busOf, nodeOf } from "../node.ts";

export const quotaCommand: HiveCommand = {
  words: ["admin", "quota"],
  summary: "What an account may have at most; sets it with --set CODE=VALUE",
  async run(args) {
    const parsed = parse(
      {
        name: "hive admin quota",
        summary: "Shows an account's quotas, and what it has asked for; sets one.",
        arguments: "<account id>",
        options: {
          set: { type: "string", value: "CODE=VALUE", help: "For example L-1216C47A=64" },
          ...jsonOption,
          ...dataDirOption,
        },
      },
      args,
      { min: 1 },
    );
    if (parsed === undefined) return;
    const [account_id = ""] = parsed.positionals;
    const wanted = parsed.options.set;
    const [, code, value] = /^(L-[0-9A-F]{8})=(\d{1,10})$/.exec(wanted ?? "") ?? [];
    if (wanted !== undefined && (code === undefined || value === undefined)) {
      throw new CommandError(
        `--set needs CODE=VALUE, as in L-1216C47A=64, and not "${wanted}".`,
        2,
      );
    }
    const node = await nodeOf(parsed.options["data-dir"]);
    await using bus = await busOf(node);
    const all = await bus.ask(accountQuotas, {
      account_id,
      ...(code === undefined ? {} : { set: { code, value: Number(value) } }),
    });
    if (parsed.options.json === true) {
      console.log(JSON.stringify(all, null, 2));
      return;
    }
    console.log(table(
      ["CODE", "VALUE", "ASKED FOR", "QUOTA"],
      all.map((one) => [
        one.code,
        String(one.value),
        one.wanted > one.value ? String(one.wanted) : "",
        one.name,
      ]),
    ));
  },
};
