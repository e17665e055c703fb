/**
 * What can be looked at of an instance from outside: its screen, its firmware's variables, the public keys
 * of its TPM. Each is asked of the node that has the instance's machine and files; nothing is changed,
 * but for a key that is pressed where a dark screen is to wake up.
 */
import { AwsError } from "../../aws/errors.ts";
import type { Bus } from "../../bus/bus.ts";
import { onNode, type Subject, subject } from "../../bus/subject.ts";
import type { NodeConfig, Paths } from "../../config/node_config.ts";
import type { ActionTable, Call } from "../../resources/actions.ts";
import { invalidParameter, unsupported } from "../../resources/errors.ts";
import type { Resources } from "../../resources/resource.ts";
import type { InstanceRecord } from "../contract.ts";
import { delay } from "../delay.ts";
import { awsUefiData, readVariables } from "../machines/firmware_variables.ts";
import { NoScreen } from "../machines/hypervisor.ts";
import { machinePaths } from "../machines/machine_paths.ts";
import type { MachineRegistry } from "../machines/machine_registry.ts";
import { screenshotJpeg } from "../machines/screenshot.ts";
import { keptKeys } from "../machines/tpm.ts";
import { derOfKey, type EndorsementKeyType, endorsementKeyTypes } from "../machines/tpm_keys.ts";

type Question = { readonly instance_id: string };
/** Answers are base64. */
const screenHere = subject<Question & { readonly wake: boolean }, { readonly image: string }>(
  "ec2.instance.screenshot",
);
const variablesHere = subject<Question, { readonly data: string }>("ec2.instance.variables");
const keysHere = subject<
  Question & { readonly type: EndorsementKeyType },
  { readonly key: string }
>(
  "ec2.instance.endorsement_key",
);

/** How long a screen may take to light up. */
const waking_ms = 500;

function wrongState(id: string, what: string): AwsError {
  return new AwsError(
    "IncorrectInstanceState",
    `The instance '${id}' is not in a state from which ${what} can be read.`,
  );
}

/** Answers for the machines of this node. */
export function answerViews(
  { bus, config, paths }: {
    readonly bus: Bus;
    readonly config: Pick<NodeConfig, "node_id">;
    readonly paths: Paths;
  },
  machines: MachineRegistry,
): void {
  const answer = <I, O>(one: Subject<I, O>, handler: (input: I) => Promise<O>) =>
    bus.answer(onNode(config.node_id, one), handler, { queue: null });

  answer(screenHere, async ({ instance_id, wake }) => {
    const machine = await machines.find(instance_id);
    if (machine === undefined) throw wrongState(instance_id, "its screen");
    if (wake) {
      await machine.wake();
      await delay(waking_ms);
    }
    try {
      return { image: (await screenshotJpeg(await machine.screen())).toBase64() };
    } catch (error) {
      if (!(error instanceof NoScreen)) throw error;
      throw new AwsError(
        "UnsupportedOperation",
        `The instance '${instance_id}' was started without a screen. Stop and start it.`,
        { cause: error },
      );
    }
  });

  answer(variablesHere, async ({ instance_id }) => {
    try {
      const flash = await Deno.readFile(machinePaths(paths, instance_id).firmwareVariables);
      return { data: awsUefiData(readVariables(flash)) };
    } catch (error) {
      if (!(error instanceof Deno.errors.NotFound)) throw error;
      throw wrongState(instance_id, "its UEFI variables");
    }
  });

  answer(keysHere, async ({ instance_id, type }) => {
    const key = (await keptKeys(machinePaths(paths, instance_id)))?.[type];
    if (key === undefined) throw wrongState(instance_id, "its TPM's keys");
    return { key };
  });
}

export function instanceViewActions(bus: Bus, instances: Resources<InstanceRecord>) {
  const require = async (id: string, call: Call, what: string) => {
    const instance = await instances.require(call.account_id, id);
    if (instance.state === "terminated" || instance.state === "shutting-down") {
      throw wrongState(id, what);
    }
    return instance;
  };
  const running = async (id: string, call: Call) => {
    const instance = await require(id, call, "its screen");
    if (instance.state !== "running" && instance.state !== "stopping") {
      throw wrongState(id, "its screen");
    }
    return instance;
  };
  const withTpm = async (id: string, call: Call) => {
    const instance = await require(id, call, "its TPM's keys");
    if (instance.tpm === undefined) {
      throw unsupported(
        `The instance '${id}' has no NitroTPM. Launch it from an image that is registered with TpmSupport v2.0.`,
      );
    }
    return instance;
  };
  return {
    GetConsoleScreenshot: {
      resources: (input, call) => [instances.arnOf(call, input.InstanceId)],
      check: async (input, call) => void await running(input.InstanceId, call),
      run: async (input, call) => {
        const { node_id, instance_id } = await running(input.InstanceId, call);
        const { image } = await bus.ask(
          onNode(node_id, screenHere),
          { instance_id, wake: input.WakeUp === true },
          call,
        );
        return { InstanceId: instance_id, ImageData: image };
      },
    },

    GetInstanceUefiData: {
      resources: (input, call) => [instances.arnOf(call, input.InstanceId)],
      check: async (input, call) =>
        void await require(input.InstanceId, call, "its UEFI variables"),
      run: async (input, call) => {
        const { node_id, instance_id } = await require(
          input.InstanceId,
          call,
          "its UEFI variables",
        );
        const { data } = await bus.ask(onNode(node_id, variablesHere), { instance_id }, call);
        return { InstanceId: instance_id, UefiData: data };
      },
    },

    GetInstanceTpmEkPub: {
      resources: (input, call) => [instances.arnOf(call, input.InstanceId)],
      check: async (input, call) => {
        if (!endorsementKeyTypes.includes(input.KeyType)) {
          throw invalidParameter(
            "keyType",
            input.KeyType,
            `Expected: ${endorsementKeyTypes.join(", ")}.`,
          );
        }
        if (input.KeyFormat !== "der" && input.KeyFormat !== "tpmt") {
          throw invalidParameter("keyFormat", input.KeyFormat, "Expected: der, tpmt.");
        }
        await withTpm(input.InstanceId, call);
      },
      run: async (input, call) => {
        const { node_id, instance_id } = await withTpm(input.InstanceId, call);
        const { KeyType, KeyFormat } = input;
        const { key } = await bus.ask(
          onNode(node_id, keysHere),
          { instance_id, type: KeyType },
          call,
        );
        return {
          InstanceId: instance_id,
          KeyType,
          KeyFormat,
          KeyValue: KeyFormat === "der" ? derOfKey(KeyType, key) : key,
        };
      },
    },
  } satisfies ActionTable;
}
