/** Event windows: when scheduled events of instances may happen. Nothing is scheduled without a window's owner. */
import { AwsError } from "../../aws/errors.ts";
import type { ActionTable } from "../../resources/actions.ts";
import { invalidCombination, invalidParameter } from "../../resources/errors.ts";
import { kind } from "../../resources/kind.ts";
import type { Ec2, Shape } from "../../resources/wire.ts";
import type { RecordFamilies } from "./record_family.ts";

type WindowShape = Shape<Ec2.InstanceEventWindow>;
export const eventWindow = kind<WindowShape>({
  name: "instance-event-window",
  idPrefix: "iew-",
  id: "InstanceEventWindowId",
  owner: null,
  notFound: "InvalidInstanceEventWindowId.NotFound",
  filters: [
    "event-window-name=Name",
    "instance-id=AssociationTarget.InstanceIds",
    "dedicated-host-id=AssociationTarget.DedicatedHostIds",
    "instance-tag-key=AssociationTarget.Tags.Key",
    "instance-tag-value=AssociationTarget.Tags.Value",
  ],
  settles: { member: "State", to: { creating: "active" } },
  page: { minimum: 20, maximum: 500, above: "refuse" },
  quota: { most: 200, code: "InstanceEventWindowLimitExceeded" },
});

const days = ["sunday", "monday", "tuesday", "wednesday", "thursday", "friday", "saturday"];

interface Times {
  readonly TimeRanges?:
    | readonly {
      readonly StartWeekDay?: string | undefined;
      readonly StartHour?: number | undefined;
      readonly EndWeekDay?: string | undefined;
      readonly EndHour?: number | undefined;
    }[]
    | undefined;
  readonly CronExpression?: string | undefined;
}

/** EC2's rules: ranges of two hours at least and four hours a week in all, or a cron expression. */
function checkTimes(input: Times): void {
  if (input.TimeRanges !== undefined && input.CronExpression !== undefined) {
    throw invalidCombination("Give either timeRanges or cronExpression.");
  }
  let hours = 0;
  for (const range of input.TimeRanges ?? []) {
    const [from, to] = [
      days.indexOf(range.StartWeekDay ?? ""),
      days.indexOf(range.EndWeekDay ?? ""),
    ];
    const [start = -1, end = -1] = [range.StartHour, range.EndHour];
    if (from < 0 || to < 0 || start < 0 || start > 23 || end < 0 || end > 23) {
      throw invalidParameter(
        "timeRange",
        JSON.stringify(range),
        "Expected week days and hours from 0 to 23.",
      );
    }
    const length = ((to * 24 + end) - (from * 24 + start) + 168) % 168;
    if (length < 2) {
      throw invalidParameter("timeRange", `${length} h`, "A range has two hours at least.");
    }
    hours += length;
  }
  if (input.TimeRanges !== undefined && hours < 4) {
    throw invalidParameter(
      "timeRanges",
      `${hours} h`,
      "All ranges have four hours a week at least.",
    );
  }
  if (
    input.CronExpression !== undefined &&
    !/^\* \d{1,2}-\d{1,2}(?:,\d{1,2}-\d{1,2})* \* \* (?:\*|[\dA-Z,]+)$/.test(input.CronExpression)
  ) {
    throw invalidParameter(
      "cronExpression",
      input.CronExpression,
      "Expected for example * 0-4 * * 1,5.",
    );
  }
}

export function eventWindowActions({ operations: n, instances }: RecordFamilies) {
  return {
    CreateInstanceEventWindow: n.creates(eventWindow, {
      answer: "InstanceEventWindow",
      make: (input) => {
        checkTimes(input);
        return {
          AssociationTarget: { InstanceIds: [], Tags: [], DedicatedHostIds: [] },
          State: "creating",
        };
      },
    }),
    DescribeInstanceEventWindows: n.describes(eventWindow, {
      list: "InstanceEventWindows",
      ids: "InstanceEventWindowIds",
    }),
    ModifyInstanceEventWindow: n.changes(eventWindow, {
      id: "InstanceEventWindowId",
      change: (_record, input) => {
        checkTimes(input);
        return {
          ...(input.Name === undefined ? {} : { Name: input.Name }),
          ...(input.TimeRanges === undefined
            ? {}
            : { TimeRanges: [...input.TimeRanges], CronExpression: undefined }),
          ...(input.CronExpression === undefined
            ? {}
            : { CronExpression: input.CronExpression, TimeRanges: undefined }),
        } as Partial<WindowShape>;
      },
      answer: "InstanceEventWindow",
    }),
    DeleteInstanceEventWindow: n.deletes(eventWindow, {
      id: "InstanceEventWindowId",
      refuse: (record, input) => {
        const target = record.shape.AssociationTarget;
        const used = [target?.InstanceIds, target?.Tags, target?.DedicatedHostIds].some((one) =>
          (one ?? []).length > 0
        );
        if (used && input.ForceDelete !== true) {
          throw new AwsError(
            "InstanceEventWindowInUse",
            `The event window '${record.id}' has targets.`,
          );
        }
      },
      answer: ([record]) => ({
        InstanceEventWindowState: { InstanceEventWindowId: record?.id, State: "deleted" },
      }),
    }),
    AssociateInstanceEventWindow: n.changes(eventWindow, {
      id: "InstanceEventWindowId",
      change: async (record, input, call) => {
        for (const id of input.AssociationTarget.InstanceIds ?? []) {
          await instances.require(call.account_id, id);
        }
        const now = record.shape.AssociationTarget;
        const { InstanceIds = [], InstanceTags = [], DedicatedHostIds = [] } =
          input.AssociationTarget;
        return {
          AssociationTarget: {
            InstanceIds: [...new Set([...now?.InstanceIds ?? [], ...InstanceIds])],
            Tags: [...now?.Tags ?? [], ...InstanceTags],
            DedicatedHostIds: [...new Set([...now?.DedicatedHostIds ?? [], ...DedicatedHostIds])],
          },
        };
      },
      answer: "InstanceEventWindow",
    }),
    DisassociateInstanceEventWindow: n.changes(eventWindow, {
      id: "InstanceEventWindowId",
      change: (record, input) => {
        const now = record.shape.AssociationTarget;
        const { InstanceIds = [], InstanceTags = [], DedicatedHostIds = [] } =
          input.AssociationTarget;
        return {
          AssociationTarget: {
            InstanceIds: now?.InstanceIds?.filter((one) => !InstanceIds.includes(one)) ?? [],
            Tags: now?.Tags?.filter((one) => !InstanceTags.some((tag) => tag.Key === one.Key)) ??
              [],
            DedicatedHostIds: now?.DedicatedHostIds?.filter((one) =>
              !DedicatedHostIds.includes(one)
            ) ?? [],
          },
        };
      },
      answer: "InstanceEventWindow",
    }),
  } satisfies ActionTable;
}
