/**
 * What an account may forbid its own networks: public access with its exclusions, and unencrypted
 * traffic. Account-wide settings are in the account's own record.
 */
import { AwsError } from "../../aws/errors.ts";
import type { ActionTable } from "../../resources/actions.ts";
import type { KindRecord } from "../../resources/kind.ts";
import type { Input } from "../../resources/wire.ts";
import { accountNetwork, settingsId } from "../kinds/account_networks.ts";
import { internetGateway } from "../kinds/internet_gateways.ts";
import { natGateway } from "../kinds/nat_gateways.ts";
import { type ControlShape, encryptionControl, exclusion } from "../kinds/protections.ts";
import { vpc } from "../kinds/vpcs.ts";
import { arn, exactlyOne, type Network, oneOf } from "../network.ts";

const excludable = [
  "InternetGateway",
  "EgressOnlyInternetGateway",
  "NatGateway",
  "VirtualPrivateGateway",
  "VpcPeering",
  "Lambda",
  "VpcLattice",
  "ElasticFileSystem",
  "GlobalAccelerator",
  "ApiGatewayV2",
] as const;

const now = () => new Date().toISOString();
const modes = ["allow-bidirectional", "allow-egress"] as const;

export const protectionActions = ({ operations: n, records, region }: Network) => {
  const settings = (account: string) =>
    records.get(accountNetwork, account, settingsId)?.shape.Settings ?? {};
  const showOptions = (account: string) => {
    const mode = settings(account)["block_public_access"] ?? "off";
    return {
      AwsAccountId: account,
      AwsRegion: region,
      ExclusionsAllowed: "allowed",
      InternetGatewayBlockMode: mode,
      LastUpdateTimestamp: settings(account)["block_public_access_time"] ?? now(),
      ManagedBy: "account",
      State: settings(account)["block_public_access"] === undefined
        ? "default-state"
        : "update-complete",
    };
  };
  /** What in the VPC could carry traffic in the clear. */
  const blocking = (account: string, id: string) => [
    ...records.find(internetGateway, account, id).map((one) => ({
      Id: one.id,
      Type: "internet-gateway",
      Description: "Traffic to the internet is not encrypted.",
      IsExcludable: true,
    })),
    ...records.find(natGateway, account, id).map((one) => ({
      Id: one.id,
      Type: "nat-gateway",
      Description: "Traffic to the internet is not encrypted.",
      IsExcludable: true,
    })),
  ];
  const readExclusions = (
    record: KindRecord<ControlShape>,
    input: Input<"ModifyVpcEncryptionControl">,
  ) => {
    const present = { ...record.shape.ResourceExclusions } as Record<string, unknown>;
    for (const name of excludable) {
      const wanted = input[`${name}Exclusion`];
      if (wanted === undefined) continue;
      const state = oneOf(wanted, ["enable", "disable"], `${name}Exclusion`, "disable");
      present[name] = { State: state === "enable" ? "enabled" : "disabled" };
    }
    return present as ControlShape["ResourceExclusions"];
  };
  return {
    CreateVpcBlockPublicAccessExclusion: n.creates(exclusion, {
      answer: "VpcBlockPublicAccessExclusion",
      make: (input, call) => {
        exactlyOne(input, ["VpcId", "SubnetId"]);
        oneOf(
          input.InternetGatewayExclusionMode,
          modes,
          "internetGatewayExclusionMode",
          "allow-egress",
        );
        const id = input.VpcId ?? input.SubnetId ?? "";
        if (records.find(exclusion, call.account_id, id).length > 0) {
          throw new AwsError("InvalidParameterValue", `There is an exclusion of ${id} already.`);
        }
        return {
          CreationTimestamp: now(),
          LastUpdateTimestamp: now(),
          ResourceArn: arn(
            region,
            call.account_id,
            input.VpcId === undefined ? "subnet" : "vpc",
            id,
          ),
          State: "create-in-progress",
        };
      },
    }),
    DescribeVpcBlockPublicAccessExclusions: n.describes(exclusion, {
      list: "VpcBlockPublicAccessExclusions",
      ids: "ExclusionIds",
    }),
    ModifyVpcBlockPublicAccessExclusion: n.changes(exclusion, {
      id: "ExclusionId",
      change: (_record, input) => ({
        InternetGatewayExclusionMode: oneOf(
          input.InternetGatewayExclusionMode,
          modes,
          "internetGatewayExclusionMode",
          "allow-egress",
        ),
        LastUpdateTimestamp: now(),
        State: "update-in-progress",
      }),
      answer: "VpcBlockPublicAccessExclusion",
    }),
    DeleteVpcBlockPublicAccessExclusion: n.deletes(exclusion, {
      id: "ExclusionId",
      passing: () => ({ State: "delete-in-progress", DeletionTimestamp: now() }),
      answer: "VpcBlockPublicAccessExclusion",
    }),
    DescribeVpcBlockPublicAccessOptions: n.custom({
      reads: true,
      run: (_input, call) => ({ VpcBlockPublicAccessOptions: showOptions(call.account_id) }),
    }),
    ModifyVpcBlockPublicAccessOptions: n.custom({
      check: (input) =>
        void oneOf(
          input.InternetGatewayBlockMode,
          ["off", "block-bidirectional", "block-ingress"],
          "internetGatewayBlockMode",
          "off",
        ),
      run: async (input, call) => {
        await records.change(accountNetwork, call.account_id, settingsId, ({ shape }) => ({
          Settings: {
            ...shape.Settings,
            block_public_access: input.InternetGatewayBlockMode,
            block_public_access_time: now(),
          },
        }));
        return { VpcBlockPublicAccessOptions: showOptions(call.account_id) };
      },
    }),

    CreateVpcEncryptionControl: n.creates(encryptionControl, {
      answer: "VpcEncryptionControl",
      make: (input, call) => {
        if (records.find(encryptionControl, call.account_id, input.VpcId).length > 0) {
          throw new AwsError(
            "VpcEncryptionControlAlreadyExists",
            `${input.VpcId} has an encryption control already.`,
          );
        }
        return {
          Mode: "monitor",
          ResourceExclusions: Object.fromEntries(
            excludable.map((name) => [name, { State: "disabled" }]),
          ) as ControlShape["ResourceExclusions"],
          State: "creating",
        };
      },
    }),
    DescribeVpcEncryptionControls: n.describes(encryptionControl, {
      list: "VpcEncryptionControls",
      ids: "VpcEncryptionControlIds",
      where: (input) => (record) =>
        input.VpcIds === undefined || input.VpcIds.includes(record.shape.VpcId ?? ""),
      before: async (input, call) => {
        for (const id of input.VpcIds ?? []) await records.require(vpc, call.account_id, id);
      },
    }),
    ModifyVpcEncryptionControl: n.changes(encryptionControl, {
      id: "VpcEncryptionControlId",
      change: (record, input, call) => {
        const mode = oneOf(
          input.Mode,
          ["monitor", "enforce"],
          "mode",
          record.shape.Mode === "enforce" ? "enforce" : "monitor",
        );
        const exclusions = readExclusions(record, input);
        const excluded = (type: string) =>
          (type === "internet-gateway" ? exclusions?.InternetGateway : exclusions?.NatGateway)
            ?.State === "enabled";
        const [first] = blocking(call.account_id, record.shape.VpcId ?? "").filter((one) =>
          !excluded(one.Type)
        );
        if (mode === "enforce" && first !== undefined) {
          throw new AwsError(
            "VpcEncryptionEnforcementBlocked",
            `${first.Id} carries unencrypted traffic; exclude or remove it.`,
          );
        }
        return {
          Mode: mode,
          ResourceExclusions: exclusions,
          State: mode === "enforce" ? "enforce-in-progress" : "monitor-in-progress",
        };
      },
      answer: "VpcEncryptionControl",
    }),
    DeleteVpcEncryptionControl: n.deletes(encryptionControl, {
      id: "VpcEncryptionControlId",
      passing: () => ({ State: "deleting" }),
      answer: "VpcEncryptionControl",
    }),
    GetVpcResourcesBlockingEncryptionEnforcement: n.custom({
      reads: true,
      check: async (input, call) => {
        await records.require(vpc, call.account_id, input.VpcId);
      },
      run: (input, call) => ({ NonCompliantResources: blocking(call.account_id, input.VpcId) }),
    }),
  } satisfies ActionTable;
};
