/**
 * Launch templates with their versions. A version's data is what the request gave, merged over its
 * source version; RunInstances lays its own parameters over it.
 */
import { AwsError } from "../../aws/errors.ts";
import type { ActionTable, Call } from "../../resources/actions.ts";
import { invalidParameter, missingParameter } from "../../resources/errors.ts";
import { idOf } from "../../resources/ids.ts";
import { kind, type KindRecord } from "../../resources/kind.ts";
import { pageOf } from "../../resources/paging.ts";
import type { Records } from "../../resources/records.ts";
import type { Ec2, Shape } from "../../resources/wire.ts";
import type { RecordFamilies } from "./record_family.ts";

type Data = Shape<Ec2.ResponseLaunchTemplateData>;
interface Version {
  readonly number: number;
  readonly created: string;
  readonly by: string;
  readonly description?: string | undefined;
  readonly data: Data;
}
type TemplateShape = Shape<Ec2.LaunchTemplate> & { readonly Versions?: readonly Version[] };
type TemplateRecord = KindRecord<TemplateShape>;

export const launchTemplate = kind<TemplateShape>({
  name: "launch-template",
  idPrefix: "lt-",
  id: "LaunchTemplateId",
  owner: null,
  notFound: "InvalidLaunchTemplateId.NotFound",
  malformed: "InvalidLaunchTemplateId.Malformed",
  filters: ["create-time", "launch-template-name"],
  page: { minimum: 1, maximum: 200, above: "refuse" },
  quota: { most: 5000, code: "LaunchTemplateLimitExceeded" },
});

const idOfName = (account: string, name: string) => idOf("lt-", account, name);

interface Named {
  readonly LaunchTemplateId?: string | undefined;
  readonly LaunchTemplateName?: string | undefined;
}

/** @throws AwsError */
async function templateNamed(
  records: Records,
  input: Named,
  account: string,
): Promise<TemplateRecord> {
  if ((input.LaunchTemplateId === undefined) === (input.LaunchTemplateName === undefined)) {
    throw input.LaunchTemplateId === undefined
      ? missingParameter("launchTemplateId or launchTemplateName")
      : new AwsError(
        "InvalidParameterCombination",
        "Give either launchTemplateId or launchTemplateName.",
      );
  }
  if (input.LaunchTemplateId !== undefined) {
    return await records.require(launchTemplate, account, input.LaunchTemplateId);
  }
  const name = input.LaunchTemplateName ?? "";
  const found = records.get(launchTemplate, account, await idOfName(account, name));
  if (found === undefined) {
    throw new AwsError(
      "InvalidLaunchTemplateName.NotFoundException",
      `The specified launch template, with template name ${name}, does not exist.`,
    );
  }
  return found;
}

/** `1`, `$Latest` or `$Default`. @throws AwsError */
function versionOf(record: TemplateRecord, wanted: string | undefined): Version {
  const versions = record.shape.Versions ?? [];
  const number = wanted === undefined || wanted === "$Default"
    ? record.shape.DefaultVersionNumber
    : wanted === "$Latest"
    ? record.shape.LatestVersionNumber
    : Number(wanted);
  const found = versions.find((one) => one.number === number);
  if (found === undefined) {
    throw new AwsError(
      "InvalidLaunchTemplateId.VersionNotFound",
      `Could not find launch template version ${wanted} of ${record.id}.`,
    );
  }
  return found;
}

/** What a launch gets of a template. */
export async function templateData(
  records: Records,
  input: Named & { readonly Version?: string | undefined },
  account: string,
): Promise<Data> {
  const record = await templateNamed(records, input, account);
  return versionOf(record, input.Version).data;
}

function checkData(data: object): Data {
  const { UserData, ImageId } = data as Data;
  if (UserData !== undefined && !/^[A-Za-z0-9+/\s]*={0,2}\s*$/.test(UserData)) {
    throw new AwsError("InvalidUserData.Malformed", "Invalid BASE64 encoding of user data.");
  }
  if (ImageId !== undefined && !/^(?:ami-[0-9a-f]{8,17}|resolve:ssm:.+)$/.test(ImageId)) {
    throw new AwsError("InvalidAMIID.Malformed", `Invalid id: "${ImageId}"`);
  }
  const { TagSpecifications, ...rest } = data as Data;
  return { ...rest, ...(TagSpecifications === undefined ? {} : { TagSpecifications }) };
}

export function launchTemplateActions({ operations: n, records, instances }: RecordFamilies) {
  const show = (record: TemplateRecord) => ({
    ...records.show(launchTemplate, record),
    CreateTime: record.created,
  });
  const showVersion = (record: TemplateRecord, version: Version) => ({
    CreateTime: version.created,
    CreatedBy: version.by,
    DefaultVersion: version.number === record.shape.DefaultVersionNumber,
    LaunchTemplateData: version.data,
    LaunchTemplateId: record.id,
    LaunchTemplateName: record.shape.LaunchTemplateName,
    ...(version.description === undefined ? {} : { VersionDescription: version.description }),
    VersionNumber: version.number,
  });
  const named = async (input: Named, call: Call) =>
    (await templateNamed(records, input, call.account_id)).id;
  return {
    CreateLaunchTemplate: n.creates(launchTemplate, {
      without: ["LaunchTemplateData", "VersionDescription"],
      id: (input, call) => idOfName(call.account_id, input.LaunchTemplateName),
      make: async (input, call) => {
        const name = input.LaunchTemplateName;
        if (!/^[a-zA-Z0-9()./_-]{3,128}$/.test(name)) {
          throw new AwsError(
            "InvalidLaunchTemplateName.MalformedException",
            `The name '${name}' is not valid.`,
          );
        }
        const id = await idOfName(call.account_id, name);
        if (
          records.get(launchTemplate, call.account_id, id) !== undefined
        ) {
          throw new AwsError(
            "InvalidLaunchTemplateName.AlreadyExistsException",
            "Launch template name already in use.",
          );
        }
        return {
          CreatedBy: call.principal_arn,
          DefaultVersionNumber: 1,
          LatestVersionNumber: 1,
          Versions: [{
            number: 1,
            created: new Date().toISOString(),
            by: call.principal_arn,
            description: input.VersionDescription,
            data: checkData(input.LaunchTemplateData),
          }],
        };
      },
      answer: (record) => ({ LaunchTemplate: show(record) }),
    }),
    CreateLaunchTemplateVersion: n.changes(launchTemplate, {
      id: named,
      change: (record, input, call) => {
        const source = input.SourceVersion === undefined
          ? {}
          : versionOf(record, input.SourceVersion).data;
        const number = (record.shape.LatestVersionNumber ?? 0) + 1;
        return {
          LatestVersionNumber: number,
          Versions: [...record.shape.Versions ?? [], {
            number,
            created: new Date().toISOString(),
            by: call.principal_arn,
            description: input.VersionDescription,
            data: { ...source, ...checkData(input.LaunchTemplateData) },
          }],
        };
      },
      answer: (record) => ({
        LaunchTemplateVersion: showVersion(record, versionOf(record, "$Latest")),
      }),
    }),
    DescribeLaunchTemplates: n.custom({
      reads: true,
      run: async (input, call) => {
        const ids = [...input.LaunchTemplateIds ?? []];
        for (const LaunchTemplateName of input.LaunchTemplateNames ?? []) {
          ids.push(await named({ LaunchTemplateName }, call));
        }
        const page = await records.of(launchTemplate).describe({
          action: "DescribeLaunchTemplates",
          ids,
          filters: input.Filters,
          page: input,
        }, call);
        return {
          LaunchTemplates: page.records.map(show),
          NextToken: page.nextToken,
        };
      },
    }),
    DescribeLaunchTemplateVersions: n.custom({
      reads: true,
      run: async (input, call) => {
        const all = input.LaunchTemplateId === undefined && input.LaunchTemplateName === undefined;
        if (all && input.Versions?.some((one) => one !== "$Latest" && one !== "$Default")) {
          throw missingParameter("launchTemplateId or launchTemplateName");
        }
        const templates = all
          ? [...records.all(launchTemplate, call.account_id)]
          : [await templateNamed(records, input, call.account_id)];
        const least = Number(input.MinVersion ?? 1);
        const most = Number(input.MaxVersion ?? Number.MAX_SAFE_INTEGER);
        if (!Number.isInteger(least) || !Number.isInteger(most)) {
          throw invalidParameter(
            "minVersion",
            input.MinVersion ?? input.MaxVersion,
            "Expected a number.",
          );
        }
        const rows = templates.flatMap((record) => {
          const chosen = input.Versions !== undefined && input.Versions.length > 0
            ? input.Versions.map((one) => versionOf(record, one))
            : all
            ? [versionOf(record, "$Latest")]
            : record.shape.Versions ?? [];
          return [...new Set(chosen)].filter((one) => one.number >= least && one.number <= most)
            .map((version) => ({ record, version }));
        });
        const page = pageOf(
          rows,
          ({ record, version }) => `${record.id} ${String(1e9 - version.number)}`,
          { action: "DescribeLaunchTemplateVersions", input, call, limits: launchTemplate.limits },
        );
        return {
          LaunchTemplateVersions: page.items.map(({ record, version }) =>
            showVersion(record, version)
          ),
          NextToken: page.nextToken,
        };
      },
    }),
    ModifyLaunchTemplate: n.changes(launchTemplate, {
      id: named,
      change: (record, input) => ({
        DefaultVersionNumber: versionOf(record, input.DefaultVersion ?? "$Default").number,
      }),
      answer: (record) => ({ LaunchTemplate: show(record) }),
    }),
    DeleteLaunchTemplate: n.deletes(launchTemplate, {
      id: named,
      answer: ([record]) => ({ LaunchTemplate: record === undefined ? undefined : show(record) }),
    }),
    DeleteLaunchTemplateVersions: n.custom({
      check: async (input, call) => {
        await named(input, call);
        if (input.Versions.length === 0) throw missingParameter("launchTemplateVersion");
      },
      run: async (input, call) => {
        const record = await templateNamed(records, input, call.account_id);
        const row = (number: number) => ({
          LaunchTemplateId: record.id,
          LaunchTemplateName: record.shape.LaunchTemplateName,
          VersionNumber: number,
        });
        const good: number[] = [];
        const bad: { number: number; Code: string; Message: string }[] = [];
        for (const text of new Set(input.Versions)) {
          const number = Number(text);
          const exists = record.shape.Versions?.some((one) => one.number === number) === true;
          if (!exists) {
            bad.push({
              number,
              Code: "launchTemplateVersionDoesNotExist",
              Message: `Version ${text} does not exist.`,
            });
          } else if (number === record.shape.DefaultVersionNumber) {
            bad.push({
              number,
              Code: "operationNotPermitted",
              Message: "The default version cannot be deleted.",
            });
          } else good.push(number);
        }
        await records.change(launchTemplate, call.account_id, record.id, ({ shape }) => ({
          Versions: shape.Versions?.filter((one) => !good.includes(one.number)) ?? [],
        }));
        return {
          SuccessfullyDeletedLaunchTemplateVersions: good.map(row),
          UnsuccessfullyDeletedLaunchTemplateVersions: bad.map(({ number, Code, Message }) => ({
            ...row(Number.isNaN(number) ? 0 : number),
            ResponseError: { Code, Message },
          })),
        };
      },
    }),
    GetLaunchTemplateData: n.custom({
      reads: true,
      run: async (input, call) => {
        const instance = await instances.require(call.account_id, input.InstanceId);
        return {
          LaunchTemplateData: {
            BlockDeviceMappings: instance.attachments.map((one) => ({
              DeviceName: one.device,
              Ebs: { DeleteOnTermination: one.delete_on_termination },
            })),
            DisableApiTermination: instance.settings?.disable_api_termination ?? false,
            ImageId: instance.image_id,
            InstanceInitiatedShutdownBehavior: instance.shutdown_behavior ?? "stop",
            InstanceType: instance.instance_type,
            ...(instance.key_name === undefined ? {} : { KeyName: instance.key_name }),
            MetadataOptions: {
              HttpEndpoint: instance.metadata_options.http_endpoint,
              HttpTokens: instance.metadata_options.http_tokens,
              InstanceMetadataTags: instance.metadata_options.instance_metadata_tags,
            },
            Monitoring: { Enabled: instance.settings?.monitoring ?? false },
            NetworkInterfaces: [{
              DeleteOnTermination: true,
              DeviceIndex: 0,
              SubnetId: instance.network.subnet_id,
            }],
            Placement: { AvailabilityZone: instance.az, Tenancy: "default" },
            ...(instance.user_data === undefined ? {} : { UserData: instance.user_data }),
          },
        };
      },
    }),
  } satisfies ActionTable;
}
