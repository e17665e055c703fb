/**
 * vpcd, wired: one bucket of records, every family's actions, what other services ask. `main.ts` starts
 * it on a node; tests start it on theirs.
 */
import type { Bus } from "../bus/bus.ts";
import type { NodeConfig } from "../config/node_config.ts";
import { errorFields, type Log } from "../log/log.ts";
import { type CompleteTable, register, type RegisterOptions } from "../resources/actions.ts";
import { ClientTokens } from "../resources/client_tokens.ts";
import type { AnyKind } from "../resources/kind.ts";
import { Operations } from "../resources/operations.ts";
import { type Plane, recordPlane, Records } from "../resources/records.ts";
import { answerTags } from "../resources/tag_questions.ts";
import { buckets, tagQuestions, type vpcdActions } from "./contract.ts";
import { Defaults } from "./defaults.ts";
import { families } from "./families/all.ts";
import { answerCompute } from "./families/instance_interfaces.ts";
import { expirePeerings } from "./families/peering.ts";
import { forgetRulesOfNoGroup } from "./families/security_groups.ts";
import { kinds } from "./kinds/all.ts";
import { type Network, parameters } from "./network.ts";

export interface VpcdOptions {
  readonly bus: Bus;
  readonly log: Log;
  readonly config: Pick<NodeConfig, "region" | "az" | "cluster_id">;
  readonly authorize?: RegisterOptions["authorize"];
  /** What makes the records real; records alone unless given. */
  readonly plane?: Plane;
}

export interface Vpcd {
  readonly network: Network;
  readonly defaults: Defaults;
  facts(): Readonly<Record<string, number>>;
  stop(): Promise<void>;
}

const housekeeping_ms = 60_000;

export async function startVpcd(options: VpcdOptions): Promise<Vpcd> {
  const { bus, log, config } = options;
  const plane = options.plane ?? recordPlane;
  const [records, tokens] = await Promise.all([
    Records.open(kinds as readonly AnyKind[], buckets.records, bus, log, plane),
    ClientTokens.open(bus, buckets.clientTokens, log),
  ]);
  const operations = new Operations({
    records,
    tokens,
    parameters,
    ready: (account) => defaults.ready(account),
  });
  const network: Network = { operations, records, region: config.region, az: config.az };
  const defaults = new Defaults(network, config.cluster_id);
  const table: CompleteTable<(typeof vpcdActions)[number]> = families(network);
  register(bus, table, options.authorize === undefined ? {} : { authorize: options.authorize });
  answerTags(bus, tagQuestions, records, (account) => defaults.ready(account));
  answerCompute(bus, network, defaults);
  const keepHouse = async () => {
    await records.keepHouse();
    await expirePeerings(records);
    await forgetRulesOfNoGroup(records);
    await tokens.expire();
  };
  const house = () =>
    void keepHouse().catch((error) => log.warn("housekeeping_failed", errorFields(error)));
  const timer = setInterval(house, housekeeping_ms);
  house();
  return {
    network,
    defaults,
    facts: () => ({ records: records.table.size }),
    stop: async () => {
      clearInterval(timer);
      await records[Symbol.asyncDispose]();
      await tokens[Symbol.asyncDispose]();
    },
  };
}
