/**
 * Lifecycle rules that give objects another storage class. A class is a word that is kept with an object and
 * told (`storage_class.ts`), so moving is changing the word, as a client of AWS would see it. To classes that would
 * have to be restored before they are read nothing can be moved: the rule is refused and not ignored.
 */
import { AwsError } from "../../aws/errors.ts";
import type {
  LifecycleFilter,
  LifecycleRule,
  NoncurrentTransition,
  Transition,
} from "../objects/settings.ts";
import { invalidArgument, notImplemented } from "./call.ts";
import { newerVersions, nodes, requiredText } from "./document.ts";
import { isClass, movable } from "./storage_class.ts";
import { element, malformedXml, text, type XmlNode } from "./xml.ts";

const archives = ["GLACIER", "DEEP_ARCHIVE"];
/** How long an object has to be there before it may move to some classes. */
const leastDays: Readonly<Record<string, number>> = { STANDARD_IA: 30, ONEZONE_IA: 30 };

/** @throws AwsError `MalformedXML`, `InvalidArgument` unless it is a day's beginning */
export function dateOf(value: string): number {
  const ms = Date.parse(value);
  if (Number.isNaN(ms)) throw malformedXml();
  if (ms % 86_400_000 !== 0) throw invalidArgument("'Date' must be at midnight GMT", "Date", value);
  return ms;
}

function classOf(node: XmlNode, action: string): string {
  const storage_class = requiredText(node, "StorageClass");
  if (archives.includes(storage_class)) {
    throw notImplemented(`Lifecycle ${action} to ${storage_class}`);
  }
  if (movable.includes(storage_class)) return storage_class;
  if (!isClass(storage_class)) throw malformedXml();
  throw invalidArgument(`Invalid target Storage class for ${action} action`);
}

function daysOf(node: XmlNode, name: string): number | undefined {
  const value = text(node, name);
  if (value === undefined) return undefined;
  if (!/^\d{1,9}$/.test(value)) {
    if (!/^-\d+$/.test(value)) throw malformedXml();
    throw invalidArgument(`'${name}' in Transition action must be nonnegative`);
  }
  return Number(value);
}

function checkDays(days: number, name: string, action: string, storage_class: string): void {
  const least = leastDays[storage_class] ?? 0;
  if (days >= least) return;
  throw invalidArgument(
    `'${name}' in ${action} action must be greater than or equal to ${least} for storageClass '${storage_class}'`,
  );
}

function checkDifferent(
  all: readonly { readonly storage_class: string }[],
  action: string,
  filter: LifecycleFilter,
): void {
  if (new Set(all.map(({ storage_class }) => storage_class)).size === all.length) return;
  throw new AwsError(
    "InvalidRequest",
    `'StorageClass' must be different for '${action}' actions in same 'Rule' with ${shown(filter)}`,
  );
}

/** A filter in messages. */
const shown = ({ prefix, form }: LifecycleFilter) =>
  form === "rule" ? `prefix '${prefix}'` : `filter '(prefix=${prefix})'`;

/** @param expires what the same rule says of expiration, which has to come later */
export function transitionsOf(
  rule: XmlNode,
  filter: LifecycleFilter,
  expires: {
    readonly days: number | undefined;
    readonly date: string | undefined;
    readonly noncurrent_days: number | undefined;
  },
): Pick<LifecycleRule, "transitions" | "noncurrent_transitions"> {
  const transitions = nodes(rule, "Transition").map((node): Transition => {
    const storage_class = classOf(node, "Transition");
    const days = daysOf(node, "Days");
    const date = text(node, "Date");
    if ((days === undefined) === (date === undefined)) throw malformedXml();
    if (
      (days === undefined && expires.days !== undefined) ||
      (date === undefined && expires.date !== undefined)
    ) {
      throw new AwsError(
        "InvalidRequest",
        `Found mixed 'Date' and 'Days' based Expiration and Transition actions in lifecycle rule for ${
          shown(filter)
        }`,
      );
    }
    if (days !== undefined) {
      checkDays(days, "Days", "Transition", storage_class);
      if (expires.days !== undefined && expires.days <= days) {
        throw invalidArgument(
          `'Days' in the Expiration action for ${
            shown(filter)
          } must be greater than 'Days' in the Transition action`,
        );
      }
      return { storage_class, days };
    }
    return { storage_class, at_ms: dateOf(date ?? "") };
  });
  const noncurrent = nodes(rule, "NoncurrentVersionTransition").map(
    (node): NoncurrentTransition => {
      const storage_class = classOf(node, "NoncurrentVersionTransition");
      const days = daysOf(node, "NoncurrentDays");
      if (days === undefined) throw malformedXml();
      checkDays(days, "NoncurrentDays", "NoncurrentVersionTransition", storage_class);
      if (expires.noncurrent_days !== undefined && expires.noncurrent_days <= days) {
        throw invalidArgument(
          `'NoncurrentDays' in the NoncurrentVersionExpiration action for ${
            shown(filter)
          } must be greater than 'NoncurrentDays' in the NoncurrentVersionTransition action`,
        );
      }
      const kept = newerVersions(node, "NoncurrentVersionTransition");
      return { storage_class, days, ...(kept === undefined ? {} : { kept }) };
    },
  );
  checkDifferent(transitions, "Transition", filter);
  checkDifferent(noncurrent, "NoncurrentVersionTransition", filter);
  return {
    ...(transitions.length === 0 ? {} : { transitions }),
    ...(noncurrent.length === 0 ? {} : { noncurrent_transitions: noncurrent }),
  };
}

export function shownTransitions(rule: LifecycleRule) {
  return [
    ...(rule.transitions ?? []).map(({ storage_class, days, at_ms }) =>
      element("Transition", [
        days === undefined ? undefined : element("Days", days),
        at_ms === undefined ? undefined : element("Date", new Date(at_ms).toISOString()),
        element("StorageClass", storage_class),
      ])
    ),
    ...(rule.noncurrent_transitions ?? []).map(({ storage_class, days, kept }) =>
      element("NoncurrentVersionTransition", [
        element("NoncurrentDays", days),
        kept === undefined ? undefined : element("NewerNoncurrentVersions", kept),
        element("StorageClass", storage_class),
      ])
    ),
  ];
}
