/**
 * The policies of users, groups and roles, written once for all three: inline ones, which are part of
 * their holder's row, and attached ones, which are named there by ARN.
 *
 * Every change is one compare-and-set of the holder's row, so that a quota holds however many change
 * it at once, and a holder that was removed and made again under its name is not taken for the old one.
 */
import {
  type Call,
  checkName,
  deleteConflict,
  invalid,
  noSuchEntity,
  overLimit,
  pageEnd,
  pageOf,
} from "../call.ts";
import { isManagedPolicy } from "./managed_policies.ts";
import { parsePolicy, policySize } from "../policy/document.ts";
import { changeNamed, type NamedKind } from "./named.ts";
import type { PolicyHolder } from "../records.ts";

const attachedPerHolder = 10;
const largestDocument = 131_072;

/** What differs between users, groups and roles. */
export interface HolderKind<T extends PolicyHolder> extends NamedKind<T> {
  readonly word: "user" | "group" | "role";
  /** `UserName` and so on. */
  readonly nameMember: string;
  /** Quota of all inline policies together, in characters that are not white space. */
  readonly inlineSize: number;
  /** Finds it and asks for permission; throws `NoSuchEntity` when it is not there. */
  required(call: Call, action: string, name: string | undefined): T;
}

interface Input {
  readonly PolicyName?: string | undefined;
  readonly PolicyDocument?: string | undefined;
  readonly PolicyArn?: string | undefined;
  readonly PathPrefix?: string | undefined;
  readonly Marker?: string | undefined;
  readonly MaxItems?: number | undefined;
  readonly UserName?: string | undefined;
  readonly GroupName?: string | undefined;
  readonly RoleName?: string | undefined;
}

/** The seven actions on a holder's policies, by IAM's names for users; `User` stands for the kind. */
export interface HolderActions {
  put(input: Input, call: Call): Promise<Record<string, never>>;
  get(input: Input, call: Call): Record<string, unknown>;
  remove(input: Input, call: Call): Promise<Record<string, never>>;
  list(input: Input, call: Call): Record<string, unknown>;
  attach(input: Input, call: Call): Promise<Record<string, never>>;
  detach(input: Input, call: Call): Promise<Record<string, never>>;
  listAttached(input: Input, call: Call): Record<string, unknown>;
}

/** @throws AwsError `ValidationError` */
export function checkDocument(document: unknown, what: string): asserts document is string {
  if (typeof document !== "string" || document.length > largestDocument) {
    throw invalid(`The specified value for ${what} is invalid.`);
  }
}

/** @throws AwsError `ValidationError` */
export function checkPolicyArn(arn: string | undefined): asserts arn is string {
  if (arn === undefined || !/^arn:aws:iam::(aws|\d{12}):policy\/[\x21-\x7e]+$/.test(arn)) {
    throw invalid("The specified value for policyArn is invalid.");
  }
}

/** The inline policy of that name: own property or nothing, whatever the name. */
function inlineOf(holder: PolicyHolder, name: string): string | undefined {
  return Object.hasOwn(holder.inline, name) ? holder.inline[name] : undefined;
}

/** @throws AwsError `DeleteConflict` while policies are left */
export function demandNoPolicies(holder: PolicyHolder): void {
  const left = holder.attached.length > 0
    ? "must detach all policies first."
    : Object.keys(holder.inline).length > 0
    ? "must delete policies first."
    : undefined;
  if (left !== undefined) throw deleteConflict(`Cannot delete entity, ${left}`);
}

export function actionsOnPolicies<T extends PolicyHolder>(kind: HolderKind<T>): HolderActions {
  const { title } = kind;
  const holderOf = (input: Input, call: Call, action: string): T =>
    kind.required(call, `iam:${action}`, (input as Record<string, string>)[kind.nameMember]);
  const noSuchPolicy = (name: string) =>
    noSuchEntity(`The ${kind.word} policy with name ${name} cannot be found.`);

  return {
    async put(input, call) {
      const holder = holderOf(input, call, `Put${title}Policy`);
      const { PolicyName: name, PolicyDocument: document } = input;
      checkName(name, "policyName", 128);
      checkDocument(document, "policyDocument");
      parsePolicy(document);
      await changeNamed(call, kind, holder, (now) => {
        const others = Object.entries(now.inline).filter(([other]) => other !== name);
        const inline = Object.fromEntries([...others, [name, document] as const]);
        const total = Object.values(inline).reduce((sum, one) => sum + policySize(one), 0);
        if (total > kind.inlineSize) {
          throw overLimit(
            `Maximum policy size of ${kind.inlineSize} bytes exceeded for ${kind.word} ${now.name}`,
          );
        }
        return { ...now, inline };
      });
      return {};
    },
    get(input, call) {
      const holder = holderOf(input, call, `Get${title}Policy`);
      const { PolicyName: name } = input;
      checkName(name, "policyName", 128);
      const document = inlineOf(holder, name);
      if (document === undefined) throw noSuchPolicy(name);
      // IAM gives documents percent-encoded; its clients decode them.
      return {
        [kind.nameMember]: holder.name,
        PolicyName: name,
        PolicyDocument: encodeURIComponent(document),
      };
    },
    async remove(input, call) {
      const holder = holderOf(input, call, `Delete${title}Policy`);
      const { PolicyName: name } = input;
      checkName(name, "policyName", 128);
      await changeNamed(call, kind, holder, (now) => {
        if (inlineOf(now, name) === undefined) throw noSuchPolicy(name);
        const left = Object.entries(now.inline).filter(([other]) => other !== name);
        return { ...now, inline: Object.fromEntries(left) };
      });
      return {};
    },
    list(input, call) {
      const holder = holderOf(input, call, `List${title}Policies`);
      const page = pageOf(Object.keys(holder.inline).sort(), (name) => name, input);
      return { PolicyNames: [...page.items], ...pageEnd(page) };
    },
    async attach(input, call) {
      const holder = holderOf(input, call, `Attach${title}Policy`);
      const arn = input.PolicyArn;
      checkPolicyArn(arn);
      if (!isManagedPolicy(call.state, holder.account_id, arn)) {
        throw noSuchEntity(`Policy ${arn} does not exist or is not attachable.`);
      }
      await changeNamed(call, kind, holder, (now) => {
        if (now.attached.includes(arn)) return now;
        if (now.attached.length >= attachedPerHolder) {
          throw overLimit(`Cannot exceed quota for PoliciesPer${title}: ${attachedPerHolder}`);
        }
        return { ...now, attached: [...now.attached, arn] };
      });
      return {};
    },
    async detach(input, call) {
      const holder = holderOf(input, call, `Detach${title}Policy`);
      const arn = input.PolicyArn;
      checkPolicyArn(arn);
      await changeNamed(call, kind, holder, (now) => {
        if (!now.attached.includes(arn)) throw noSuchEntity(`Policy ${arn} was not found.`);
        return { ...now, attached: now.attached.filter((other) => other !== arn) };
      });
      return {};
    },
    listAttached(input, call) {
      const holder = holderOf(input, call, `ListAttached${title}Policies`);
      const page = pageOf([...holder.attached].sort(), (arn) => arn, input);
      return {
        AttachedPolicies: page.items.map((arn) => ({
          PolicyName: arn.slice(arn.lastIndexOf("/") + 1),
          PolicyArn: arn,
        })),
        ...pageEnd(page),
      };
    },
  };
}
