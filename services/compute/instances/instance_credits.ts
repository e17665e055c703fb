/** CPU credits of burstable instances: what each is set to, and what is usual. */
import type { ActionTable, Call } from "../../resources/actions.ts";
import { missingParameter } from "../../resources/errors.ts";
import { compileFilters } from "../../resources/filters.ts";
import { pageOf } from "../../resources/paging.ts";
import { settingsOf } from "../record_families/account_settings.ts";
import type { InstanceRecord } from "../contract.ts";
import { instanceChanges } from "./instance_changes.ts";
import type { RecordFamilies } from "../record_families/record_family.ts";

export function instanceCreditActions(families: RecordFamilies) {
  const { operations: n, instances, records } = families;
  const { requireAll, set } = instanceChanges(families);
  const usualCredits = (instance: InstanceRecord, call: Call) => {
    const family = instance.instance_type.split(".")[0] ?? "";
    return settingsOf(records, call.account_id)[`credits_${family}`] ??
      (family === "t2" ? "standard" : "unlimited");
  };
  const isBurstable = (instance: InstanceRecord) => /^t\d/.test(instance.instance_type);
  return {
    ModifyInstanceCreditSpecification: n.custom({
      check: (input) => {
        if (input.InstanceCreditSpecifications.length === 0) {
          throw missingParameter("instanceCreditSpecification");
        }
      },
      run: async (input, call) => {
        const good: { InstanceId: string }[] = [];
        const bad: { InstanceId: string; Error: { Code: string; Message: string } }[] = [];
        for (const { InstanceId, CpuCredits = "standard" } of input.InstanceCreditSpecifications) {
          const instance = instances.get(call.account_id, InstanceId);
          const fault = instance === undefined
            ? ["InvalidInstanceID.NotFound", `The instance ID '${InstanceId}' does not exist`]
            : !isBurstable(instance)
            ? [
              "InstanceCreditSpecification.NotSupported",
              `${instance.instance_type} has no CPU credits.`,
            ]
            : CpuCredits !== "standard" && CpuCredits !== "unlimited"
            ? [
              "InvalidParameterValue",
              `Value (${CpuCredits}) for parameter cpuCredits is invalid.`,
            ]
            : undefined;
          if (fault !== undefined) {
            bad.push({ InstanceId, Error: { Code: fault[0] ?? "", Message: fault[1] ?? "" } });
            continue;
          }
          await set(call, InstanceId, { cpu_credits: CpuCredits });
          good.push({ InstanceId });
        }
        return {
          SuccessfulInstanceCreditSpecifications: good,
          UnsuccessfulInstanceCreditSpecifications: bad,
        };
      },
    }),
    DescribeInstanceCreditSpecifications: n.custom({
      reads: true,
      check: (input, call) => {
        if ((input.InstanceIds ?? []).length > 0) requireAll(input.InstanceIds ?? [], call);
      },
      run: (input, call) => {
        const matches = compileFilters<InstanceRecord>(input.Filters, {
          "instance-id": (one) => one.instance_id,
        });
        const wanted = input.InstanceIds ?? [];
        const found = [...instances.all(call.account_id)].filter((one) =>
          isBurstable(one) && one.state !== "terminated" && matches(one) &&
          (wanted.length > 0
            ? wanted.includes(one.instance_id)
            : (one.settings?.cpu_credits ?? usualCredits(one, call)) === "unlimited")
        );
        const page = pageOf(found, (one) => one.instance_id, {
          action: "DescribeInstanceCreditSpecifications",
          input,
          call,
        });
        return {
          InstanceCreditSpecifications: page.items.map((one) => ({
            InstanceId: one.instance_id,
            CpuCredits: one.settings?.cpu_credits ?? usualCredits(one, call),
          })),
          NextToken: page.nextToken,
        };
      },
    }),
  } satisfies ActionTable;
}
