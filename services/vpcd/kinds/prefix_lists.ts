/** Managed prefix lists as records, with all their versions. */
import { kind, type KindRecord } from "../../resources/kind.ts";
import type { Records } from "../../resources/records.ts";
import type { Ec2, Shape } from "../../resources/wire.ts";

export type Entry = Shape<Ec2.PrefixListEntry>;
type ListShape = Shape<Ec2.ManagedPrefixList> & {
  /** Entries of each version, from 1 on; null for those that are kept no longer. */
  readonly Versions?: readonly (readonly Entry[] | null)[];
};
export type ListRecord = KindRecord<ListShape>;

/** The list of the cloud's own S3, which nobody has made. */
export const cloudListId = "pl-00000000";

/** @throws AwsError where there is no such list */
export async function requireList(records: Records, account: string, id: string): Promise<void> {
  if (id !== cloudListId) await records.require(prefixList, account, id);
}

export const prefixList = kind<ListShape>({
  name: "prefix-list",
  idPrefix: "pl-",
  id: "PrefixListId",
  notFound: "InvalidPrefixListID.NotFound",
  malformed: "InvalidPrefixListId.Malformed",
  filters: ["prefix-list-id", "prefix-list-name", "state"],
  page: { minimum: 1, maximum: 100, above: "refuse" },
});
