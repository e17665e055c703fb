/**
 * Settings of an account: one record of names and values, changed by the Enable, Disable and Modify
 * actions and read by whoever honours them. What nobody has set has AWS's own default.
 */
import { AwsError } from "../../aws/errors.ts";
import type { ActionTable } from "../../resources/actions.ts";
import { invalidParameter, invalidValue } from "../../resources/errors.ts";
import { kind } from "../../resources/kind.ts";
import type { Records } from "../../resources/records.ts";
import { defaultNetwork } from "../../vpcd/contract.ts";
import type { RecordFamilies } from "./record_family.ts";

export const computeSettings = kind<{ readonly Values: Readonly<Record<string, string>> }>({
  name: "account-settings",
  idPrefix: "settings-",
  id: "SettingsId",
  owner: null,
  notFound: "InvalidSettings.NotFound",
  untagged: true,
});

export const settingsId = `settings-${"0".repeat(17)}`;

/** What an account has set. */
export const settingsOf = (records: Records, account: string): Readonly<Record<string, string>> =>
  records.get(computeSettings, account, settingsId)?.shape.Values ?? {};

export const defaultKey = (region: string, account: string) =>
  `arn:aws:kms:${region}:${account}:alias/aws/ebs`;

/** Names by which an account's key for volumes may be asked for: there is no key service, and so no other key. */
export const keyNames = (region: string, account: string): readonly string[] => [
  defaultKey(region, account),
  "alias/aws/ebs",
];

/** @throws AwsError when there is no such key */
export function checkKey(name: string, region: string, account: string): void {
  if (keyNames(region, account).includes(name)) return;
  throw invalidValue(
    `The key '${name}' does not exist. Leave KmsKeyId out: the key is ${
      defaultKey(region, account)
    }.`,
  );
}

const burstable = ["t2", "t3", "t3a", "t4g"];

/** What EC2 tells of an account, by attribute. */
const attributesOf = (vpc: string): Readonly<Record<string, readonly string[]>> => ({
  "supported-platforms": ["VPC"],
  "default-vpc": [vpc],
  "max-instances": ["1000"],
  "vpc-max-security-groups-per-interface": ["16"],
  "max-elastic-ips": ["1000"],
  "vpc-max-elastic-ips": ["1000"],
});

export function accountSettingActions({ operations: n, records, bus }: RecordFamilies) {
  const set = async (account: string, values: Readonly<Record<string, string | undefined>>) => {
    await records.create(computeSettings, account, { Values: {} }, { id: settingsId });
    await records.change(computeSettings, account, settingsId, ({ shape }) => ({
      Values: Object.fromEntries(
        Object.entries({ ...shape.Values, ...values }).filter(([, value]) => value !== undefined),
      ) as Readonly<Record<string, string>>,
    }));
  };
  const of = (account: string) => settingsOf(records, account);
  const checkFamily = (family: string) => {
    if (!burstable.includes(family)) {
      throw invalidParameter("instanceFamily", family, `Expected: ${burstable.join(", ")}.`);
    }
  };
  const usualCredits = (family: string) => family === "t2" ? "standard" : "unlimited";
  const metadataNames = [
    "HttpTokens",
    "HttpPutResponseHopLimit",
    "HttpEndpoint",
    "InstanceMetadataTags",
    "HttpTokensEnforced",
  ] as const;
  return {
    EnableEbsEncryptionByDefault: n.custom({
      run: async (_input, call) => {
        await set(call.account_id, { ebs_encryption: "true" });
        return { EbsEncryptionByDefault: true };
      },
    }),
    DisableEbsEncryptionByDefault: n.custom({
      run: async (_input, call) => {
        await set(call.account_id, { ebs_encryption: undefined });
        return { EbsEncryptionByDefault: false };
      },
    }),
    GetEbsEncryptionByDefault: n.custom({
      reads: true,
      run: (_input, call) => ({
        EbsEncryptionByDefault: of(call.account_id)["ebs_encryption"] === "true",
        SseType: "none",
      }),
    }),
    GetEbsDefaultKmsKeyId: n.custom({
      reads: true,
      run: (_input, call) => ({ KmsKeyId: defaultKey(call.region, call.account_id) }),
    }),
    ModifyEbsDefaultKmsKeyId: n.custom({
      check: (input, call) => checkKey(input.KmsKeyId, call.region, call.account_id),
      run: (_input, call) => ({ KmsKeyId: defaultKey(call.region, call.account_id) }),
    }),
    ResetEbsDefaultKmsKeyId: n.custom({
      run: (_input, call) => ({ KmsKeyId: defaultKey(call.region, call.account_id) }),
    }),

    EnableSerialConsoleAccess: n.custom({
      run: async (_input, call) => {
        await set(call.account_id, { serial_console: "true" });
        return { SerialConsoleAccessEnabled: true };
      },
    }),
    DisableSerialConsoleAccess: n.custom({
      run: async (_input, call) => {
        await set(call.account_id, { serial_console: undefined });
        return { SerialConsoleAccessEnabled: false };
      },
    }),
    GetSerialConsoleAccessStatus: n.custom({
      reads: true,
      run: (_input, call) => ({
        ManagedBy: "account",
        SerialConsoleAccessEnabled: of(call.account_id)["serial_console"] === "true",
      }),
    }),

    EnableImageBlockPublicAccess: n.custom({
      check: (input) => {
        if (input.ImageBlockPublicAccessState !== "block-new-sharing") {
          throw invalidParameter(
            "imageBlockPublicAccessState",
            input.ImageBlockPublicAccessState,
            "Expected: block-new-sharing.",
          );
        }
      },
      run: async (_input, call) => {
        await set(call.account_id, { image_block: "block-new-sharing" });
        return { ImageBlockPublicAccessState: "block-new-sharing" };
      },
    }),
    DisableImageBlockPublicAccess: n.custom({
      run: async (_input, call) => {
        await set(call.account_id, { image_block: "unblocked" });
        return { ImageBlockPublicAccessState: "unblocked" };
      },
    }),
    GetImageBlockPublicAccessState: n.custom({
      reads: true,
      run: (_input, call) => ({
        ImageBlockPublicAccessState: of(call.account_id)["image_block"] ?? "block-new-sharing",
        ManagedBy: "account",
      }),
    }),
    EnableSnapshotBlockPublicAccess: n.custom({
      check: (input) => {
        if (!["block-all-sharing", "block-new-sharing"].includes(input.State)) {
          throw invalidParameter(
            "state",
            input.State,
            "Expected: block-all-sharing or block-new-sharing.",
          );
        }
      },
      run: async (input, call) => {
        await set(call.account_id, { snapshot_block: input.State });
        return { State: input.State };
      },
    }),
    DisableSnapshotBlockPublicAccess: n.custom({
      run: async (_input, call) => {
        await set(call.account_id, { snapshot_block: undefined });
        return { State: "unblocked" };
      },
    }),
    GetSnapshotBlockPublicAccessState: n.custom({
      reads: true,
      run: (_input, call) => ({
        ManagedBy: "account",
        State: of(call.account_id)["snapshot_block"] ?? "unblocked",
      }),
    }),

    ModifyInstanceMetadataDefaults: n.custom({
      check: (input) => {
        const values = {
          HttpTokens: ["optional", "required", "no-preference"],
          HttpEndpoint: ["enabled", "disabled", "no-preference"],
          InstanceMetadataTags: ["enabled", "disabled", "no-preference"],
          HttpTokensEnforced: ["enabled", "disabled", "no-preference"],
        } as const;
        for (const [name, allowed] of Object.entries(values)) {
          const value = input[name as keyof typeof values];
          if (value !== undefined && !(allowed as readonly string[]).includes(value)) {
            throw invalidParameter(name, value, `Expected: ${allowed.join(", ")}.`);
          }
        }
        const hops = input.HttpPutResponseHopLimit;
        if (hops !== undefined && hops !== -1 && (hops < 1 || hops > 64)) {
          throw invalidParameter("HttpPutResponseHopLimit", hops, "Expected 1 to 64, or -1.");
        }
      },
      run: async (input, call) => {
        await set(
          call.account_id,
          Object.fromEntries(metadataNames.flatMap((name) => {
            const value = input[name];
            if (value === undefined) return [];
            return [[
              `metadata_${name}`,
              value === "no-preference" || value === -1 ? undefined : String(value),
            ]];
          })),
        );
        return { Return: true };
      },
    }),
    GetInstanceMetadataDefaults: n.custom({
      reads: true,
      run: (_input, call) => {
        const values = of(call.account_id);
        return {
          AccountLevel: {
            ManagedBy: "account",
            ...Object.fromEntries(metadataNames.flatMap((name) => {
              const value = values[`metadata_${name}`];
              if (value === undefined) return [];
              return [[name, name === "HttpPutResponseHopLimit" ? Number(value) : value]];
            })),
          },
        };
      },
    }),

    ModifyDefaultCreditSpecification: n.custom({
      check: (input) => {
        checkFamily(input.InstanceFamily);
        if (!["standard", "unlimited"].includes(input.CpuCredits)) {
          throw invalidParameter(
            "cpuCredits",
            input.CpuCredits,
            "Expected: standard or unlimited.",
          );
        }
      },
      run: async (input, call) => {
        await set(call.account_id, { [`credits_${input.InstanceFamily}`]: input.CpuCredits });
        const { InstanceFamily, CpuCredits } = input;
        return { InstanceFamilyCreditSpecification: { InstanceFamily, CpuCredits } };
      },
    }),
    GetDefaultCreditSpecification: n.custom({
      reads: true,
      check: (input) => checkFamily(input.InstanceFamily),
      run: ({ InstanceFamily }, call) => ({
        InstanceFamilyCreditSpecification: {
          InstanceFamily,
          CpuCredits: of(call.account_id)[`credits_${InstanceFamily}`] ??
            usualCredits(InstanceFamily),
        },
      }),
    }),

    EnableCapacityManager: n.custom({
      run: async (input, call) => {
        const organizations = input.OrganizationsAccess ?? false;
        await set(call.account_id, {
          capacity_manager: "enabled",
          capacity_organizations: String(organizations),
        });
        return { CapacityManagerStatus: "enabled", OrganizationsAccess: organizations };
      },
    }),
    DisableCapacityManager: n.custom({
      run: async (_input, call) => {
        await set(call.account_id, {
          capacity_manager: undefined,
          capacity_organizations: undefined,
        });
        return { CapacityManagerStatus: "disabled", OrganizationsAccess: false };
      },
    }),
    GetCapacityManagerAttributes: n.custom({
      reads: true,
      run: (_input, call) => ({
        CapacityManagerStatus: of(call.account_id)["capacity_manager"] ?? "disabled",
        DataExportCount: 0,
        OrganizationsAccess: of(call.account_id)["capacity_organizations"] === "true",
      }),
    }),

    DescribeAccountAttributes: n.custom({
      reads: true,
      run: async (input, call) => {
        const { vpc_id } = await bus.ask(defaultNetwork, { account_id: call.account_id });
        const all = attributesOf(vpc_id ?? "none");
        const unknown = input.AttributeNames?.find((name) => all[name] === undefined);
        if (unknown !== undefined) {
          throw new AwsError(
            "InvalidParameterValue",
            `Value (${unknown}) for parameter attributeName is invalid.`,
          );
        }
        const names = input.AttributeNames ?? Object.keys(all);
        return {
          AccountAttributes: [...new Set<string>(names)].map((AttributeName) => ({
            AttributeName,
            AttributeValues: (all[AttributeName] ?? []).map((AttributeValue) => ({
              AttributeValue,
            })),
          })),
        };
      },
    }),
  } satisfies ActionTable;
}
