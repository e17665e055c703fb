/**
 * Whether a bucket's policy is public, as AWS means it: it lets in others than principals that it names, and
 * does not hold them to fixed places or accounts. What is not known to be narrow is public.
 */
interface Statement {
  readonly Effect?: unknown;
  readonly Principal?: unknown;
  readonly NotPrincipal?: unknown;
  readonly Condition?: unknown;
}

const list = (value: unknown): readonly unknown[] => Array.isArray(value) ? value : [value];

/** Condition keys whose fixed values say who it is. */
const narrowing: ReadonlySet<string> = new Set([
  "aws:principalaccount",
  "aws:principalarn",
  "aws:principalorgid",
  "aws:principalorgpaths",
  "aws:sourceaccount",
  "aws:sourcearn",
  "aws:sourceip",
  "aws:sourceowner",
  "aws:sourcevpc",
  "aws:sourcevpce",
  "aws:userid",
]);
const equality =
  /^(ForAnyValue:)?(StringEquals|StringEqualsIgnoreCase|StringLike|ArnEquals|ArnLike|IpAddress)$/i;

/** Neither wildcards nor variables. */
const isFixed = (value: unknown) => typeof value === "string" && !/[*?]|\$\{/.test(value);

/** A range of addresses that is no large part of all that there are. */
function isNarrowRange(value: unknown): boolean {
  if (!isFixed(value)) return false;
  const [address = "", bits] = String(value).split("/");
  if (bits === undefined) return true;
  return Number(bits) >= (address.includes(":") ? 32 : 8);
}

function narrows(condition: unknown): boolean {
  if (typeof condition !== "object" || condition === null) return false;
  return Object.entries(condition).some(([operator, keys]) =>
    equality.test(operator) && typeof keys === "object" && keys !== null &&
    Object.entries(keys).some(([key, values]) => {
      const name = key.toLowerCase();
      const fits = name === "aws:sourceip" ? isNarrowRange : isFixed;
      return narrowing.has(name) && list(values).every(fits);
    })
  );
}

function isForAnybody({ Principal: principal, NotPrincipal: others }: Statement): boolean {
  if (others !== undefined || principal === "*") return true;
  return typeof principal === "object" && principal !== null &&
    Object.values(principal).some((value) => list(value).includes("*"));
}

function judge(text: string): boolean {
  const policy = JSON.parse(text) as { readonly Statement?: unknown };
  return (list(policy.Statement) as readonly Statement[]).some((one) =>
    one.Effect === "Allow" && isForAnybody(one) && !narrows(one.Condition)
  );
}

const mostKept = 256;
const judged = new Map<string, boolean>();

/** @param text a policy that was checked when it was kept */
export function isPublic(text: string): boolean {
  let known = judged.get(text);
  if (known === undefined) {
    known = judge(text);
    if (judged.size >= mostKept) judged.clear();
    judged.set(text, known);
  }
  return known;
}
