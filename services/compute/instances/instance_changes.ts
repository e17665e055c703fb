/** What actions that change one thing of an instance look at first, and how its settings are written. */
import { AwsError } from "../../aws/errors.ts";
import type { Call } from "../../resources/actions.ts";
import { missingParameter } from "../../resources/errors.ts";
import { checkId, notFound } from "../../resources/ids.ts";
import type { InstanceRecord, InstanceSettings } from "../contract.ts";
import { instanceType } from "./instance_resource.ts";
import type { RecordFamilies } from "../record_families/record_family.ts";

/** @throws AwsError `IncorrectInstanceState` */
export function mustBeStopped(instance: InstanceRecord, what: string): void {
  if (instance.state !== "stopped") {
    throw new AwsError(
      "IncorrectInstanceState",
      `The instance '${instance.instance_id}' is not in the 'stopped' state, in which its ${what} can be changed.`,
    );
  }
}

/** @throws AwsError `IncorrectInstanceState` */
export function notTerminated(instance: InstanceRecord): void {
  if (instance.state === "terminated" || instance.state === "shutting-down") {
    throw new AwsError(
      "IncorrectInstanceState",
      `The instance '${instance.instance_id}' is not in a state from which it can be modified.`,
    );
  }
}

export const instanceChanges = ({ instances }: Pick<RecordFamilies, "instances">) => ({
  required: (id: string, call: Call) => instances.require(call.account_id, id),

  /** All of them are there. @throws AwsError */
  requireAll: (ids: readonly string[], call: Call): void => {
    if (ids.length === 0) throw missingParameter("InstanceId");
    for (const id of ids) checkId(instanceType.idPrefix, id, instanceType.errors);
    const missing = ids.filter((id) => instances.get(call.account_id, id) === undefined);
    if (missing.length > 0) throw notFound(missing, instanceType.errors);
  },

  set: (call: Call, id: string, change: InstanceSettings) =>
    instances.modify(call.account_id, id, (now) => ({
      ...now,
      settings: { ...now.settings, ...change },
    })),
});
