/**
 * The Resource Groups Tagging API over everything here that has tags: the same tags that CreateTags and
 * DescribeTags know, by ARN instead of by id.
 *
 * TagResources and UntagResources take each resource for itself: what is refused of one is told in the
 * answer and hinders no other, as on AWS. The caller needs the right to CreateTags or DeleteTags on each.
 */
import type * as Tagging from "@aws-sdk/client-resource-groups-tagging-api";
import { AwsError, internalError } from "../aws/errors.ts";
import type { Bus } from "../bus/bus.ts";
import { type CallContext, subject } from "../bus/subject.ts";
import type { RegisterOptions } from "../resources/actions.ts";
import { pageAfter } from "../resources/paging.ts";
import { checkTags, mergeTags, tagLimits, type Tags } from "../resources/tags.ts";
import type { Wire } from "../resources/wire.ts";
import type { taggingActions } from "./contract.ts";
import { demand } from "./demand.ts";
import type { Taggable, TaggableTypes, TaggedResource } from "./tags.ts";

type In<T> = Wire<T>;
type Out<T> = Omit<Wire<T>, "$metadata">;

const resourcesPerCall = 20;
const invalid = (message: string) => new AwsError("InvalidParameterException", message);

interface Found extends TaggedResource {
  readonly arn: string;
}

/** The name of a type as the API's filters have it: `ec2:instance`. */
const typeName = (resource: TaggedResource) => `ec2:${resource.type}`;

/** @throws AwsError `PaginationTokenExpiredException` instead of EC2's code */
function paged<T>(
  items: readonly T[],
  key: (item: T) => string,
  of: { readonly account: string; readonly action: string; readonly parameters: unknown },
  size: number,
  token: string | undefined,
) {
  // AWS's clients send an empty token for the first page.
  const after = token === "" ? undefined : token;
  return pageAfter(
    items,
    key,
    of,
    size,
    after,
    () => new AwsError("PaginationTokenExpiredException", "The pagination token is not valid."),
  );
}

function checkFilters(filters: readonly Wire<Tagging.TagFilter>[]): void {
  if (filters.length > 50) throw invalid("A request may have 50 tag filters at most.");
  for (const { Key: key, Values: values } of filters) {
    if (key === undefined || key.length < 1 || key.length > 128) {
      throw invalid("A tag filter needs a key of 1 to 128 characters.");
    }
    if ((values ?? []).length > 20) throw invalid("A tag filter may have 20 values at most.");
  }
}

function matches(filters: readonly Wire<Tagging.TagFilter>[], tags: Tags): boolean {
  return filters.every(({ Key: key = "", Values: values = [] }) =>
    Object.hasOwn(tags, key) && (values.length === 0 || values.includes(tags[key] ?? ""))
  );
}

export class ResourceGroupsTagging {
  constructor(
    readonly types: TaggableTypes,
    readonly authorize?: RegisterOptions["authorize"],
  ) {}

  /** What has tags, in the order of ARNs. */
  async #all(call: CallContext): Promise<Found[]> {
    const tagged = await this.types.tagged(call.account_id);
    return tagged.map((one) => ({
      ...one,
      arn: this.types.named(one.type)?.arn(call, one.id) ?? one.id,
    }));
  }

  async getResources(
    input: In<Tagging.GetResourcesCommandInput>,
    call: CallContext,
  ): Promise<Out<Tagging.GetResourcesCommandOutput>> {
    const filters = input.TagFilters ?? [];
    checkFilters(filters);
    const { ResourceARNList: arns, ResourceTypeFilters: wanted = [] } = input;
    if (arns !== undefined && (filters.length > 0 || wanted.length > 0)) {
      throw invalid("ResourceARNList cannot be used together with filters.");
    }
    const size = input.ResourcesPerPage ?? 50;
    if (size < 1 || size > 100) throw invalid("ResourcesPerPage must be from 1 to 100.");
    for (const name of wanted) {
      if (!/^[a-z0-9-]+(:[a-z0-9-]+)?$/.test(name)) {
        throw invalid(`"${name}" is no resource type; write service or service:type.`);
      }
    }
    const isWanted = (one: Found) =>
      wanted.length === 0 || wanted.includes("ec2") || wanted.includes(typeName(one));
    const found = (await this.#all(call)).filter((one) =>
      arns === undefined ? isWanted(one) && matches(filters, one.tags) : arns.includes(one.arn)
    );
    const page = paged(
      found,
      (one) => one.arn,
      { account: call.account_id, action: "GetResources", parameters: [filters, wanted, arns] },
      size,
      input.PaginationToken,
    );
    return {
      PaginationToken: page.nextToken ?? "",
      ResourceTagMappingList: page.items.map((one) => ({
        ResourceARN: one.arn,
        Tags: Object.entries(one.tags).map(([Key, Value]) => ({ Key, Value })),
      })),
    };
  }

  async getTagKeys(
    input: In<Tagging.GetTagKeysCommandInput>,
    call: CallContext,
  ): Promise<Out<Tagging.GetTagKeysCommandOutput>> {
    const keys = new Set((await this.#all(call)).flatMap((one) => Object.keys(one.tags)));
    const page = paged(
      [...keys],
      (key) => key,
      { account: call.account_id, action: "GetTagKeys", parameters: null },
      100,
      input.PaginationToken,
    );
    return { PaginationToken: page.nextToken ?? "", TagKeys: page.items };
  }

  async getTagValues(
    input: In<Tagging.GetTagValuesCommandInput>,
    call: CallContext,
  ): Promise<Out<Tagging.GetTagValuesCommandOutput>> {
    const key = input.Key ?? "";
    const values = new Set(
      (await this.#all(call)).flatMap((one) =>
        Object.hasOwn(one.tags, key) ? [one.tags[key] ?? ""] : []
      ),
    );
    const page = paged(
      [...values],
      (value) => ` ${value}`,
      { account: call.account_id, action: "GetTagValues", parameters: key },
      100,
      input.PaginationToken,
    );
    return { PaginationToken: page.nextToken ?? "", TagValues: page.items };
  }

  /** The type and id that an ARN of the caller's own account and region names. @throws AwsError */
  #resourceOf(arn: string, call: CallContext): { readonly type: Taggable; readonly id: string } {
    const match = /^arn:aws:ec2:([a-z0-9-]*):(\d{12})?:([a-z-]+)\/([\x21-\x7e]{1,255})$/.exec(arn);
    const type = match === null ? undefined : this.types.named(match[3] ?? "");
    if (match === null || type === undefined) {
      throw invalid(`${arn} is not the ARN of a resource that has tags here.`);
    }
    if (match[1] !== call.region || (match[2] ?? call.account_id) !== call.account_id) {
      throw invalid(`${arn} is not of this account and region.`);
    }
    return { type, id: match[4] ?? "" };
  }

  async #each(
    arns: readonly string[] | undefined,
    action: "ec2:CreateTags" | "ec2:DeleteTags",
    call: CallContext,
    change: (type: Taggable, id: string) => Promise<void>,
  ): Promise<{ readonly FailedResourcesMap: Record<string, Wire<Tagging.FailureInfo>> }> {
    if (arns === undefined || arns.length === 0 || arns.length > resourcesPerCall) {
      throw invalid(`ResourceARNList must have 1 to ${resourcesPerCall} ARNs.`);
    }
    const failed: [string, Wire<Tagging.FailureInfo>][] = [];
    for (const arn of new Set(arns)) {
      try {
        const { type, id } = this.#resourceOf(arn, call);
        await demand(this.authorize, action, arn, call, 400);
        await change(type, id);
      } catch (error) {
        if (error instanceof AwsError && error.status === 503) throw error;
        const shown = error instanceof AwsError ? error : internalError(error);
        failed.push([arn, {
          StatusCode: shown.status,
          ErrorCode: shown.status >= 500 ? "InternalServiceException" : "InvalidParameterException",
          ErrorMessage: shown.message,
        }]);
      }
    }
    return { FailedResourcesMap: Object.fromEntries(failed) };
  }

  async tagResources(
    input: In<Tagging.TagResourcesCommandInput>,
    call: CallContext,
  ): Promise<Out<Tagging.TagResourcesCommandOutput>> {
    const given = Object.entries(input.Tags ?? {});
    if (given.length === 0 || given.length > tagLimits.perResource) {
      throw invalid(`Tags must have 1 to ${tagLimits.perResource} entries.`);
    }
    let add: Tags;
    try {
      add = checkTags(given.map(([Key, Value]) => ({ Key, Value })));
    } catch (cause) {
      throw cause instanceof AwsError ? invalid(cause.message) : cause;
    }
    return await this.#each(input.ResourceARNList, "ec2:CreateTags", call, async (type, id) => {
      mergeTags(await type.check(call.account_id, id), add);
      await type.change(call.account_id, id, { add });
    });
  }

  async untagResources(
    input: In<Tagging.UntagResourcesCommandInput>,
    call: CallContext,
  ): Promise<Out<Tagging.UntagResourcesCommandOutput>> {
    const keys = input.TagKeys ?? [];
    if (keys.length === 0 || keys.length > tagLimits.perResource) {
      throw invalid(`TagKeys must have 1 to ${tagLimits.perResource} keys.`);
    }
    const remove = keys.map((Key) => ({ Key }));
    return await this.#each(input.ResourceARNList, "ec2:DeleteTags", call, async (type, id) => {
      await type.check(call.account_id, id);
      await type.change(call.account_id, id, { remove });
    });
  }

  /** Answers `tagging.<Action>` until the bus is drained. */
  register(bus: Bus): void {
    const handlers: Record<
      (typeof taggingActions)[number],
      (input: never, call: CallContext) => Promise<unknown>
    > = {
      GetResources: (input, call) => this.getResources(input, call),
      GetTagKeys: (input, call) => this.getTagKeys(input, call),
      GetTagValues: (input, call) => this.getTagValues(input, call),
      TagResources: (input, call) => this.tagResources(input, call),
      UntagResources: (input, call) => this.untagResources(input, call),
    };
    for (const [action, handle] of Object.entries(handlers)) {
      bus.answer(
        subject<never, unknown>(`tagging.${action}`),
        (input, context) => handle(input ?? ({} as never), context),
      );
    }
  }
}
