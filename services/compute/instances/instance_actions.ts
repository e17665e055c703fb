/**
 * EC2's instance actions. What changes an instance writes what is wanted into its record and answers
 * at once; the reconcile loop of the instance's node brings it there.
 */
import { AwsError, unavailable } from "../../aws/errors.ts";
import { ListAnswer } from "../../bus/list_answer.ts";
import { onNode, subject } from "../../bus/subject.ts";
import type { ActionTable, Call } from "../../resources/actions.ts";
import { missingParameter, unsupported } from "../../resources/errors.ts";
import { checkId, notFound } from "../../resources/ids.ts";
import type { Filter, Output } from "../../resources/wire.ts";
import type { ConsoleText } from "../machines/console_output.ts";
import type { InstanceRecord, InstanceState } from "../contract.ts";
import { instanceType, showState } from "./instance_resource.ts";
import { ShownReservations } from "./shown_reservations.ts";
import { readRequest, type RunDependencies, runInstances } from "./run_instances.ts";

/** Asked of the node that has the console's file. */
export const consoleHere = subject<{ instance_id: string }, ConsoleText>("ec2.instance.console");

const now = () => new Date().toISOString();
const initiated = () => `User initiated (${now().slice(0, 19).replace("T", " ")} GMT)`;
const userReason = (action: string) => ({
  code: `Client.UserInitiated${action}`,
  message: `Client.UserInitiated${action}: User initiated ${action.toLowerCase()}`,
});

function wrongState(instance: InstanceRecord, what: string): AwsError {
  return new AwsError(
    "IncorrectInstanceState",
    `The instance '${instance.instance_id}' is not in a state from which it can be ${what}.`,
  );
}

/** An instance's owner may have it protected from calls by mistake. @throws AwsError */
function refuseProtected(
  instances: readonly InstanceRecord[],
  setting: "disable_api_termination" | "disable_api_stop",
): void {
  const kept = instances.find((one) => one.settings?.[setting] === true);
  if (kept === undefined) return;
  const [what, name] = setting === "disable_api_stop"
    ? ["stopped", "disableApiStop"]
    : ["terminated", "disableApiTermination"];
  throw new AwsError(
    "OperationNotPermitted",
    `The instance '${kept.instance_id}' may not be ${what}. Modify its '${name}' instance attribute and try again.`,
  );
}

type Decision = InstanceRecord | "refused";

/** How each action changes a record; the same record means that there is nothing to do. */
const decide = {
  stop: (forced: boolean) => (instance: InstanceRecord): Decision => {
    if (instance.state === "stopped") return instance;
    if (instance.state === "stopping") {
      return forced && instance.forced !== true ? { ...instance, forced: true } : instance;
    }
    if (instance.state !== "running") return "refused";
    return {
      ...instance,
      wanted: "stopped",
      state: "stopping",
      state_time: now(),
      state_reason: userReason("Shutdown"),
      state_transition_reason: initiated(),
      ...(forced ? { forced: true } : {}),
    };
  },
  start: (instance: InstanceRecord): Decision => {
    if (instance.state === "running" || instance.state === "pending") return instance;
    if (instance.state !== "stopped") return "refused";
    const { state_reason: _past, progress: _old, ...rest } = instance;
    return {
      ...rest,
      wanted: "running",
      state: "pending",
      state_time: now(),
      launch_time: now(),
      state_transition_reason: "",
    };
  },
  terminate: (instance: InstanceRecord): Decision => {
    if (instance.wanted === "terminated") return instance;
    return {
      ...instance,
      wanted: "terminated",
      state: "shutting-down",
      state_time: now(),
      state_reason: userReason("Shutdown"),
      state_transition_reason: initiated(),
    };
  },
  reboot: (instance: InstanceRecord): Decision => {
    if (instance.state !== "running") return "refused";
    return instance.rebooting === true ? instance : { ...instance, rebooting: true };
  },
};

interface Change {
  readonly InstanceId: string;
  readonly CurrentState: ReturnType<typeof showState>;
  readonly PreviousState: ReturnType<typeof showState>;
}

export function instanceActions(dependencies: RunDependencies) {
  const { bus, capacity, instances, sizeOf, show } = dependencies;
  const reservations = new ShownReservations();

  /** All ids are known and well-formed, or nothing happens. */
  const require = async (ids: readonly string[] | undefined, call: Call) => {
    const unique = [...new Set(ids ?? [])];
    if (unique.length === 0) throw missingParameter("InstanceId");
    for (const id of unique) checkId(instanceType.idPrefix, id, instanceType.errors);
    const found = await Promise.all(unique.map((id) => instances.find(call.account_id, id)));
    const missing = unique.filter((_, at) => found[at] === undefined);
    if (missing.length > 0) throw notFound(missing, instanceType.errors);
    return found.filter((one) => one !== undefined);
  };

  /** Changes every one of them; whether all may be changed is decided before the first. */
  const changeAll = async (
    all: readonly InstanceRecord[],
    decision: (instance: InstanceRecord) => Decision,
    what: string,
  ): Promise<Change[]> => {
    for (const one of all) if (decision(one) === "refused") throw wrongState(one, what);
    return await Promise.all(all.map(async (one) => {
      let previous: InstanceState = one.state;
      const changed = await instances.modify(one.account_id, one.instance_id, (instance) => {
        previous = instance.state;
        const decided = decision(instance);
        if (decided === "refused") throw wrongState(instance, what);
        return decided;
      });
      return {
        InstanceId: one.instance_id,
        CurrentState: showState(changed.state),
        PreviousState: showState(previous),
      };
    }));
  };

  const start = async (all: readonly InstanceRecord[]): Promise<Change[]> => {
    if (dependencies.isQuiescing()) throw unavailable("The node, which is being stopped,");
    const stopped = all.filter((one) => one.state === "stopped");
    const claimed: string[] = [];
    try {
      for (const one of stopped) {
        const size = sizeOf(one.instance_type);
        if (size === undefined) {
          throw unsupported(`The instance type ${one.instance_type} is not offered any more.`);
        }
        dependencies.quotas.checkVcpus(one.account_id, size.vcpus);
        await capacity.claim([one.instance_id], size, 1, one.instance_type);
        claimed.push(one.instance_id);
      }
      return await changeAll(all, decide.start, "started");
    } catch (error) {
      // Only what has not been started after all: another call may have been quicker.
      const idle = claimed.filter((id) => {
        const one = all.find((instance) => instance.instance_id === id);
        return one !== undefined && instances.get(one.account_id, id)?.state === "stopped";
      });
      await capacity.release(idle);
      throw error;
    }
  };

  const arnsOf = (ids: readonly string[], call: Call) => ids.map((id) => instances.arnOf(call, id));

  return {
    RunInstances: {
      resources: (input, call) => [
        instances.arnOf(call, "*"),
        // Images have no account in their ARN, since they may be another one's.
        `arn:aws:ec2:${call.region}::image/${input.ImageId ?? "*"}`,
      ],
      check: async (input, call) => void await readRequest(dependencies, input, call),
      run: (input, call) => runInstances(dependencies, input, call),
    },
    DescribeInstances: {
      run: async (input, call) => {
        const page = await instances.describe({
          action: "DescribeInstances",
          ids: input.InstanceIds,
          filters: input.Filters,
          page: input,
        }, call);
        return new ListAnswer<Output<"DescribeInstances">>(
          "Reservations",
          reservations.show(page.records, await show(call.account_id)),
          { NextToken: page.nextToken },
        );
      },
    },
    DescribeInstanceStatus: {
      run: async (input, call) => {
        const onlyRunning: Filter[] = input.IncludeAllInstances === true
          ? []
          : [{ Name: "instance-state-name", Values: ["running"] }];
        const page = await instances.describe({
          action: "DescribeInstanceStatus",
          ids: input.InstanceIds,
          filters: [...(input.Filters ?? []), ...onlyRunning],
          page: input,
        }, call);
        return {
          InstanceStatuses: page.records.map(showStatus),
          NextToken: page.nextToken,
        };
      },
    },
    StartInstances: {
      resources: (input, call) => arnsOf(input.InstanceIds, call),
      check: async (input, call) => void await require(input.InstanceIds, call),
      run: async (input, call) => ({
        StartingInstances: await start(await require(input.InstanceIds, call)),
      }),
    },
    StopInstances: {
      resources: (input, call) => arnsOf(input.InstanceIds, call),
      check: async (input, call) => {
        if (input.Hibernate === true) {
          throw new AwsError(
            "UnsupportedHibernationConfiguration",
            "Hibernation is not supported by this cloud yet.",
          );
        }
        refuseProtected(await require(input.InstanceIds, call), "disable_api_stop");
      },
      run: async (input, call) => ({
        StoppingInstances: await changeAll(
          await require(input.InstanceIds, call),
          decide.stop(input.Force === true),
          "stopped",
        ),
      }),
    },
    TerminateInstances: {
      resources: (input, call) => arnsOf(input.InstanceIds, call),
      check: async (input, call) =>
        refuseProtected(await require(input.InstanceIds, call), "disable_api_termination"),
      run: async (input, call) => ({
        TerminatingInstances: await changeAll(
          await require(input.InstanceIds, call),
          decide.terminate,
          "terminated",
        ),
      }),
    },
    RebootInstances: {
      resources: (input, call) => arnsOf(input.InstanceIds, call),
      check: async (input, call) => void await require(input.InstanceIds, call),
      run: async (input, call) => {
        await changeAll(await require(input.InstanceIds, call), decide.reboot, "rebooted");
        return {};
      },
    },
    GetConsoleOutput: {
      resources: (input, call) => arnsOf([input.InstanceId], call),
      check: async (input, call) => void await require([input.InstanceId], call),
      run: async (input, call): Promise<Output<"GetConsoleOutput">> => {
        const [instance] = await require([input.InstanceId], call);
        if (instance === undefined) throw missingParameter("InstanceId");
        const text = await bus.ask(
          onNode(instance.node_id, consoleHere),
          { instance_id: instance.instance_id },
          call,
        );
        return {
          InstanceId: instance.instance_id,
          Output: text.output,
          Timestamp: text.written ?? instance.state_time,
        };
      },
    },
  } satisfies ActionTable;
}

type Status = NonNullable<Output<"DescribeInstanceStatus">["InstanceStatuses"]>[number];

function showStatus(instance: InstanceRecord): Status {
  const isRunning = instance.state === "running";
  const isWell = instance.impaired === undefined;
  const summary: NonNullable<Status["SystemStatus"]> = isRunning
    ? {
      Status: isWell ? "ok" : "impaired",
      Details: [{
        Name: "reachability",
        Status: isWell ? "passed" : "failed",
        ...(isWell ? {} : { ImpairedSince: instance.state_time }),
      }],
    }
    : { Status: "not-applicable" };
  return {
    AvailabilityZone: instance.az,
    InstanceId: instance.instance_id,
    InstanceState: showState(instance.state),
    InstanceStatus: summary,
    SystemStatus: summary,
    Events: [],
  };
}
