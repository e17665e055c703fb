/**
 * Actions as a table: EC2's operation name to what answers it. `register` subscribes each on
 * `ec2.<Action>` in the workers' queue group and gives all of them the same frame: who asks is
 * known, the caller is authorised, the input is checked, `DryRun` is answered, and only then runs
 * what is particular.
 */
import type { Answer, Bus } from "../bus/bus.ts";
import { type CallContext, subject } from "../bus/subject.ts";
import { dryRunOperation, unauthorizedOperation } from "./errors.ts";
import type { ActionName, Input, Output } from "./wire.ts";

export interface Call extends CallContext {
  /** Aborts at the caller's deadline. */
  readonly signal: AbortSignal;
}

export interface Action<Name extends ActionName> {
  /** The ARNs that the action touches, for policies; `*` unless given. */
  readonly resources?: (input: Input<Name>, call: Call) => readonly string[];
  /** Refuses what is wrong with the input; changes nothing. Also run for a dry run. */
  readonly check?: (input: Input<Name>, call: Call) => Promise<void> | void;
  readonly run: (
    input: Input<Name>,
    call: Call,
  ) => Promise<Answer<Output<Name>>> | Answer<Output<Name>>;
}

/** Some of EC2's operations with what answers them. */
export type ActionTable<Names extends ActionName = ActionName> = {
  readonly [Name in Names]?: Action<Name>;
};

/** Every one of `Names`, so that a forgotten action does not compile. */
export type CompleteTable<Names extends ActionName> = {
  readonly [Name in Names]: Action<Name>;
};

export interface RegisterOptions {
  /** Asked for each resource that an action names, where given; the gateway has asked for `*`. */
  readonly authorize?: (
    request: {
      principal_arn: string;
      action: string;
      resource: string;
      conditions?: Readonly<Record<string, string>>;
    },
    call: Call,
  ) => Promise<boolean>;
}

/** Launches may take minutes; everything else answers within 30 s. */
export function actionSubject<Name extends ActionName>(name: Name) {
  return subject<Input<Name>, Output<Name>>(
    `ec2.${name}`,
    name === "RunInstances" ? 300_000 : 30_000,
  );
}

/** Runs one action in the common frame. */
export async function perform<Name extends ActionName>(
  name: Name,
  action: Action<Name>,
  input: Input<Name>,
  call: Call,
  options: RegisterOptions = {},
): Promise<Answer<Output<Name>>> {
  if (!/^\d{12}$/.test(call.account_id)) {
    throw unauthorizedOperation(`ec2:${name}`, call.principal_arn || "unknown");
  }
  await action.check?.(input, call);
  if (options.authorize !== undefined) {
    for (const resource of action.resources?.(input, call) ?? []) {
      const request = { principal_arn: call.principal_arn, action: `ec2:${name}`, resource };
      if (!await options.authorize(request, call)) {
        throw unauthorizedOperation(`ec2:${name} on resource: ${resource}`, call.principal_arn);
      }
    }
  }
  if ((input as { DryRun?: boolean }).DryRun === true) throw dryRunOperation();
  return await action.run(input, call);
}

/** Answers every action of the table until the bus is drained. */
export function register(
  bus: Bus,
  table: ActionTable,
  options: RegisterOptions = {},
): { readonly actions: readonly ActionName[]; close(): Promise<void> } {
  const answer = <Name extends ActionName>(name: Name, action: Action<Name>) =>
    bus.answer(
      actionSubject(name),
      (input, context, signal) =>
        perform(name, action, input ?? {} as Input<Name>, { ...context, signal }, options),
    );
  const names = Object.keys(table) as ActionName[];
  const subscriptions = names.map((name) => answer(name, table[name] as Action<typeof name>));
  return {
    actions: names,
    close: async () => {
      for (const subscription of subscriptions) await subscription.close();
    },
  };
}
