/**
 * Instances as DescribeInstances lists them, by their reservations. What a reservation looks like
 * follows from its records and from what all instances of the account share, and is serialized once
 * for as long as neither changes; a record never changes, it is replaced by another.
 */
import { type ListItem, listItem } from "../../bus/list_answer.ts";
import { Recent } from "../../bus/recent.ts";
import type { InstanceRecord } from "../contract.ts";
import { type ShowContext, showInstance } from "./instance_resource.ts";

interface Shown {
  readonly records: readonly InstanceRecord[];
  readonly securityGroup: string;
  readonly item: ListItem;
}

/** Enough for some four thousand instances. */
const remembered_bytes = 12 << 20;

export class ShownReservations {
  readonly #shown = new Recent<InstanceRecord, Shown>(
    remembered_bytes,
    ({ item }) => item.json.length,
  );

  /** @param records of one account */
  show(records: readonly InstanceRecord[], context: ShowContext): ListItem[] {
    const reservations = new Map<string, InstanceRecord[]>();
    for (const record of records) {
      const together = reservations.get(record.reservation_id);
      if (together === undefined) reservations.set(record.reservation_id, [record]);
      else together.push(record);
    }
    return [...reservations.values()].map((together) => this.#one(together, context));
  }

  #one(records: InstanceRecord[], context: ShowContext): ListItem {
    if (records.length > 1) records.sort((a, b) => a.launch_index - b.launch_index);
    const [first] = records;
    if (first === undefined) throw new RangeError("a reservation has at least one instance");
    const securityGroup = context.securityGroup(first.account_id);
    const known = this.#shown.get(first);
    if (
      known !== undefined && known.securityGroup === securityGroup &&
      known.records.length === records.length &&
      known.records.every((record, at) => record === records[at])
    ) return known.item;
    const item = listItem({
      Groups: [],
      Instances: records.map((record) => showInstance(record, context)),
      OwnerId: first.account_id,
      ReservationId: first.reservation_id,
    });
    this.#shown.set(first, { records, securityGroup, item });
    return item;
  }
}
