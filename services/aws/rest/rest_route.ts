/**
 * Which operation a method and a target mean, from the path templates of AWS's own schemas.
 *
 * Of the operations whose template fits, the most literal path wins, then the most static query keys,
 * then the one whose required query and header members are all there (`PUT /bucket/key` with
 * `partNumber` is UploadPart), then the most of them. The SDKs' `x-id` only ever excludes: other
 * clients do not send it.
 */
import type { RestFaults } from "./rest_fault.ts";
import type { RestMember, RestMessage } from "./rest_shape.ts";

type Segment =
  | { readonly kind: "literal"; readonly text: string }
  | { readonly kind: "label" | "greedy"; readonly name: string };

export interface RestTemplate {
  readonly method: string;
  readonly segments: readonly Segment[];
  /** Static query keys; an empty value stands for any. */
  readonly query: readonly (readonly [name: string, value: string])[];
  readonly id: string | undefined;
  /** Members in the query and in headers without which the call is no good. */
  readonly required: readonly RestMember[];
}

export interface Target {
  readonly path: string;
  /** Every value of each name, unescaped, in the order they came. */
  readonly query: ReadonlyMap<string, readonly string[]>;
}

const mostQueryNames = 1_000;

function unescape(faults: RestFaults, text: string): string {
  if (!text.includes("%")) return text;
  try {
    return decodeURIComponent(text);
  } catch {
    throw faults.invalid("of the URI", text, "It is not percent-encoded UTF-8.");
  }
}

/** @param target path and query as they came on the request line */
export function readTarget(faults: RestFaults, target: string): Target {
  const mark = target.indexOf("?");
  const path = mark < 0 ? target : target.slice(0, mark);
  const query = new Map<string, string[]>();
  let count = 0;
  for (const part of mark < 0 ? [] : target.slice(mark + 1).split("&")) {
    if (part === "") continue;
    if (++count > mostQueryNames) throw faults.invalid("query", part, "It has too many names.");
    const equals = part.indexOf("=");
    const spaced = part.replaceAll("+", " ");
    const name = unescape(faults, equals < 0 ? spaced : spaced.slice(0, equals));
    const value = equals < 0 ? "" : unescape(faults, spaced.slice(equals + 1));
    const values = query.get(name);
    if (values === undefined) query.set(name, [value]);
    else values.push(value);
  }
  return { path, query };
}

function segmentOf(text: string): Segment {
  if (!text.startsWith("{") || !text.endsWith("}")) return { kind: "literal", text };
  return text.endsWith("+}")
    ? { kind: "greedy", name: text.slice(1, -2) }
    : { kind: "label", name: text.slice(1, -1) };
}

/** Labels that the template does not name are put in front of it: S3's bucket, by path. */
export function templateOf(
  method: string,
  uri: string,
  input: RestMessage | undefined,
): RestTemplate {
  const [path = "", search = ""] = uri.split("?", 2);
  const inside = path.split("/").filter((text) => text !== "").map(segmentOf);
  const members = input?.members ?? [];
  const named = new Set(inside.map((one) => one.kind === "literal" ? "" : one.name));
  const before: Segment[] = members
    .filter((member) => member.binding.in === "path" && !named.has(member.name))
    .map((member) => ({ kind: "label", name: member.name }));
  const pairs = search.split("&").filter((part) => part !== "")
    .map((part): readonly [string, string] => {
      const [name = "", value = ""] = part.split("=", 2);
      return [name, value];
    });
  return {
    method,
    segments: [...before, ...inside],
    query: pairs.filter(([name]) => name !== "x-id"),
    id: pairs.find(([name]) => name === "x-id")?.[1],
    required: members.filter((member) =>
      member.required && (member.binding.in === "query" || member.binding.in === "header")
    ),
  };
}

/** The labels of a path that fits the template, still escaped; nothing where it does not fit. */
export function matchPath(
  segments: readonly Segment[],
  path: string,
): Map<string, string> | undefined {
  const labels = new Map<string, string>();
  const parts = path.slice(1).split("/");
  let at = 0;
  for (const [index, segment] of segments.entries()) {
    if (segment.kind === "greedy") {
      const end = parts.length - (segments.length - 1 - index);
      const rest = parts.slice(at, Math.max(at, end)).join("/");
      if (rest === "") return undefined;
      labels.set(segment.name, rest);
      at = end;
      continue;
    }
    const part = parts[at++];
    if (part === undefined || part === "") return undefined;
    if (segment.kind === "literal") {
      if (segment.text !== part) return undefined;
    } else labels.set(segment.name, part);
  }
  // A slash at the end means nothing, unless a label took it.
  const fits = at === parts.length || at === parts.length - 1 && parts[at] === "";
  return fits ? labels : undefined;
}

export function unescapeLabels(
  faults: RestFaults,
  labels: ReadonlyMap<string, string>,
): Map<string, string> {
  return new Map([...labels].map(([name, text]) => [name, unescape(faults, text)]));
}

function fits(template: RestTemplate, method: string, target: Target): boolean {
  if (template.method !== method) return false;
  const [id] = target.query.get("x-id") ?? [];
  if (id !== undefined && template.id !== undefined && id !== template.id) return false;
  for (const [name, value] of template.query) {
    const given = target.query.get(name);
    if (given === undefined || value !== "" && !given.includes(value)) return false;
  }
  return matchPath(template.segments, target.path) !== undefined;
}

function isThere(member: RestMember, target: Target, headers: Headers): boolean {
  const { binding } = member;
  if (binding.in === "query") return target.query.has(binding.name);
  return binding.in === "header" && headers.has(binding.name);
}

/** Higher is better, the first difference decides. */
function rank(template: RestTemplate, target: Target, headers: Headers): number[] {
  const complete = template.required.every((member) => isThere(member, target, headers));
  return [
    template.segments.filter((segment) => segment.kind === "literal").length,
    template.segments.filter((segment) => segment.kind === "label").length,
    template.segments.length,
    template.query.length,
    complete ? template.required.length : -template.required.length,
    template.id !== undefined && target.query.has("x-id") ? 1 : 0,
  ];
}

function isBetter(one: readonly number[], other: readonly number[]): boolean {
  for (const [index, value] of one.entries()) {
    const difference = value - (other[index] ?? 0);
    if (difference !== 0) return difference > 0;
  }
  return false;
}

export function bestOf<Candidate extends { readonly template: RestTemplate }>(
  candidates: readonly Candidate[],
  method: string,
  target: Target,
  headers: Headers,
): Candidate | undefined {
  let best: Candidate | undefined;
  let bestRank: readonly number[] = [];
  for (const candidate of candidates) {
    if (!fits(candidate.template, method, target)) continue;
    const ranked = rank(candidate.template, target, headers);
    if (best !== undefined && !isBetter(ranked, bestRank)) continue;
    best = candidate;
    bestRank = ranked;
  }
  return best;
}
