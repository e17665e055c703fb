/**
 * A kind is a resource type whose record is EC2's own shape of it: one entry of a table says all that
 * is common (id, filters, references, errors, quota, states) and `operations.ts` makes the same
 * behaviour of every entry.
 *
 * Paths name members of the shape, `Attachments.VpcId` goes through lists. A filter entry is
 * `"attachment.vpc-id=Attachments.VpcId"`, or the filter's name alone where the path follows from it
 * (`vpc-id` reads `VpcId`). Filters by id, owner and tags come by themselves.
 */
import type { Scalar } from "./filters.ts";
import type { IdErrors } from "./ids.ts";
import { type PageLimits, usualLimits } from "./paging.ts";
import type { ResourceRecord } from "./resource.ts";

export interface KindRecord<S> extends ResourceRecord {
  readonly id: string;
  /** ISO 8601. */
  readonly created: string;
  /** Set once it has ended but is still shown; milliseconds since 1970. */
  readonly ended_ms?: number;
  /** What EC2 shows, without id, owner and tags; members that no answer has are ours. */
  readonly shape: S;
}

/** What a record shows may follow from others of its account. */
export interface OtherRecords {
  /** Those of a kind that name `value` in a reference or an indexed path. */
  find<S extends object>(one: Kind<S>, account: string, value: string): KindRecord<S>[];
  /** One that is there. */
  get<S extends object>(one: Kind<S>, account: string, id: string): KindRecord<S> | undefined;
  /** One that is there, of the account or shared with it. */
  visible<S extends object>(one: Kind<S>, account: string, id: string): KindRecord<S> | undefined;
  /** One of them as EC2 shows it. */
  show<S extends object>(one: Kind<S>, record: KindRecord<S>): S & Record<string, unknown>;
}

export interface KindTable<S extends object> {
  /** AWS's name of the type in `TagSpecifications` and ARNs: `internet-gateway`. */
  readonly name: string;
  readonly idPrefix: string;
  /** Member of the shape that holds the id. */
  readonly id: string;
  /** Member that holds the owner's account; `OwnerId` unless given, `null` where there is none. */
  readonly owner?: string | null;
  /** AWS's code for a missing one, for example `InvalidInternetGatewayID.NotFound`. */
  readonly notFound: string;
  readonly malformed?: string;
  readonly filters?: readonly string[];
  /** Filters that no path can read. */
  readonly computed?: Readonly<
    Record<string, (record: KindRecord<S>, others: OtherRecords) => Scalar | readonly Scalar[]>
  >;
  /** Members that follow from other records. */
  readonly shows?: (record: KindRecord<S>, others: OtherRecords) => Partial<S>;
  /** Paths that name other resources, and the kind that they name: both must be there to be named. */
  readonly references?: Readonly<Record<string, string>>;
  /** Paths whose values `Records.find` looks up. */
  readonly indexed?: readonly string[];
  /** Paths whose values `Records.findAnywhere` looks up in all accounts. */
  readonly unique?: readonly string[];
  /** How many an account may have, and AWS's code for one too many. */
  readonly quota?: { readonly most: number; readonly code: string };
  /** State member and what each passing state becomes once the work behind it is done. */
  readonly settles?: { readonly member: string; readonly to: Readonly<Record<string, string>> };
  /** Accounts besides the owner's that see the record. */
  readonly sharedWith?: (record: KindRecord<S>) => readonly string[];
  readonly page?: PageLimits;
  /** AWS has no tags for it. */
  readonly untagged?: true;
}

export interface Kind<S extends object> extends KindTable<S> {
  readonly errors: IdErrors;
  readonly limits: PageLimits;
}

/** What any kind is, whatever its records hold. */
// deno-lint-ignore no-explicit-any
export type AnyKind = Kind<any>;

export function kind<S extends object>(table: KindTable<S>): Kind<S> {
  const noun = table.id.charAt(0).toLowerCase() + table.id.slice(1).replace(/Id$/, "");
  return {
    ...table,
    limits: table.page ?? usualLimits,
    errors: {
      notFound: table.notFound,
      malformed: table.malformed ?? malformedCode(table.notFound),
      noun,
    },
  };
}

/** `InvalidVpcID.NotFound` and `InvalidVpcID.Malformed` are pairs. */
function malformedCode(notFound: string): string {
  return notFound.replace(/\.NotFound$/, ".Malformed").replace(/NotFound$/, "Malformed");
}

const pascalOf = (name: string) =>
  name.split(".").map((part) =>
    part.split("-").map((word) => word.charAt(0).toUpperCase() + word.slice(1)).join("")
  ).join(".");

/** The scalars that a path reaches, through lists. */
export function readPath(shape: unknown, path: string): Scalar[] {
  let found: unknown[] = [shape];
  for (const name of path.split(".")) {
    const next: unknown[] = [];
    for (const one of found) {
      if (one === null || typeof one !== "object") continue;
      const value = (one as Readonly<Record<string, unknown>>)[name];
      if (Array.isArray(value)) next.push(...value);
      else if (value !== undefined && value !== null) next.push(value);
    }
    found = next;
  }
  return found.filter((one): one is string | number | boolean => typeof one !== "object");
}

/** Filter entries as name and path. */
export function filterPaths(entries: readonly string[]): readonly (readonly [string, string])[] {
  return entries.map((entry) => {
    const [name = "", path] = entry.split("=");
    return [name, path ?? pascalOf(name)] as const;
  });
}
