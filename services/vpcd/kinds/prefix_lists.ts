/** Managed prefix lists as records, with all their versions. */
import { kind, type KindRecord } from "../../resources/kind.ts";
import type { Ec2, Shape } from "../../resources/wire.ts";

export type Entry = Shape<Ec2.PrefixListEntry>;
type ListShape = Shape<Ec2.ManagedPrefixList> & {
  /** Entries of each version, from 1 on. */
  readonly Versions?: readonly (readonly Entry[])[];
};
export type ListRecord = KindRecord<ListShape>;

export const prefixList = kind<ListShape>({
  name: "prefix-list",
  idPrefix: "pl-",
  id: "PrefixListId",
  notFound: "InvalidPrefixListID.NotFound",
  malformed: "InvalidPrefixListId.Malformed",
  filters: ["prefix-list-id", "prefix-list-name", "state"],
  page: { minimum: 1, maximum: 100, above: "refuse" },
});
