/**
 * Service Quotas: an account's limits, the cloud's usual ones, and requests for more, which are kept for the
 * operator to answer (`hive admin quota`).
 */
import type * as Sdk from "@aws-sdk/client-service-quotas";
import { AwsError } from "../../aws/errors.ts";
import type { Bus } from "../../bus/bus.ts";
import { type CallContext, subject } from "../../bus/subject.ts";
import { newId } from "../../resources/ids.ts";
import { kind, type KindRecord } from "../../resources/kind.ts";
import { pageAfter } from "../../resources/paging.ts";
import type { Records } from "../../resources/records.ts";
import type { Wire } from "../../resources/wire.ts";
import { accountQuotas, type serviceQuotaActions } from "../contract.ts";
import { allQuotas, type Quota, type Quotas } from "./quotas.ts";

interface RequestShape {
  readonly ServiceCode: string;
  readonly QuotaCode: string;
  readonly DesiredValue: number;
  readonly Requester: string;
}
export const quotaRequest = kind<RequestShape>({
  name: "quota-request",
  idPrefix: "qr-",
  id: "Id",
  owner: null,
  notFound: "NoSuchResourceException",
  quota: { most: 100, code: "QuotaExceededException" },
  untagged: true,
});

const services = {
  ec2: "Amazon Elastic Compute Cloud (Amazon EC2)",
  ebs: "Amazon Elastic Block Store (Amazon EBS)",
  vpc: "Amazon Virtual Private Cloud (Amazon VPC)",
} as const;
const largestPage = 100;
const noSuch = (message: string) => new AwsError("NoSuchResourceException", message);
const illegal = (message: string) => new AwsError("IllegalArgumentException", message);

type In = Wire<Sdk.RequestServiceQuotaIncreaseCommandInput> & {
  readonly RequestId?: string;
  readonly MaxResults?: number;
  readonly NextToken?: string;
};
type Partial_<T> = { readonly [Name in keyof T]?: T[Name] | undefined };

export class ServiceQuotas {
  constructor(readonly quotas: Quotas, readonly records: Records) {}

  #service(code: string | undefined): keyof typeof services {
    if (code !== undefined && Object.hasOwn(services, code)) return code as keyof typeof services;
    throw noSuch(`The service ${code ?? ""} has no quotas here.`);
  }

  #quota({ ServiceCode, QuotaCode }: Partial_<In>): Quota {
    const service = this.#service(ServiceCode);
    const found = allQuotas.find((one) => one.service === service && one.code === QuotaCode);
    if (found === undefined) {
      throw noSuch(`The service ${service} has no quota ${QuotaCode ?? ""}.`);
    }
    return found;
  }

  #show(quota: Quota, call: CallContext, value: number) {
    return {
      ServiceCode: quota.service,
      ServiceName: services[quota.service],
      QuotaArn:
        `arn:aws:servicequotas:${call.region}:${call.account_id}:${quota.service}/${quota.code}`,
      QuotaCode: quota.code,
      QuotaName: quota.name,
      Value: value,
      Unit: quota.unit,
      Adjustable: quota.adjustable,
      GlobalQuota: false,
      QuotaAppliedAtLevel: "ACCOUNT",
    };
  }

  #request(record: KindRecord<RequestShape>, call: CallContext) {
    const { ServiceCode, QuotaCode, DesiredValue, Requester } = record.shape;
    const quota = this.#quota({ ServiceCode, QuotaCode });
    const granted = this.quotas.limit(record.account_id, quota) >= DesiredValue;
    const { QuotaName, QuotaArn, ServiceName, Unit } = this.#show(quota, call, 0);
    return {
      Id: record.id,
      ServiceCode,
      ServiceName,
      QuotaCode,
      QuotaName,
      QuotaArn,
      Unit,
      DesiredValue,
      Status: granted ? "APPROVED" : "PENDING",
      Created: record.created,
      Requester,
      GlobalQuota: false,
    };
  }

  #page<T>(
    all: readonly T[],
    key: (one: T) => string,
    action: string,
    input: Partial_<In>,
    call: CallContext,
  ) {
    const size = input.MaxResults ?? largestPage;
    if (size < 1 || size > largestPage) throw illegal("MaxResults must be from 1 to 100.");
    return pageAfter(
      all,
      key,
      { account: call.account_id, action, parameters: input.ServiceCode ?? null },
      size,
      input.NextToken,
      () => new AwsError("InvalidPaginationTokenException", "The token is not valid."),
    );
  }

  readonly handlers: Readonly<
    Record<
      (typeof serviceQuotaActions)[number],
      (input: Partial_<In>, call: CallContext) => unknown
    >
  > = {
    GetAWSDefaultServiceQuota: (input, call) => {
      const quota = this.#quota(input);
      return { Quota: this.#show(quota, call, quota.usual) };
    },
    GetRequestedServiceQuotaChange: (input, call) => {
      const record = this.records.get(quotaRequest, call.account_id, input.RequestId ?? "");
      if (record === undefined) throw noSuch("There is no such request.");
      return { RequestedQuota: this.#request(record, call) };
    },
    GetServiceQuota: (input, call) => {
      const quota = this.#quota(input);
      return { Quota: this.#show(quota, call, this.quotas.limit(call.account_id, quota)) };
    },
    ListRequestedServiceQuotaChangeHistory: (input, call) => {
      const all = [...this.records.all(quotaRequest, call.account_id)];
      const page = this.#page(
        all,
        (one) => one.id,
        "ListRequestedServiceQuotaChangeHistory",
        input,
        call,
      );
      return {
        RequestedQuotas: page.items.map((one) => this.#request(one, call)),
        NextToken: page.nextToken,
      };
    },
    ListServiceQuotas: (input, call) => {
      const service = this.#service(input.ServiceCode);
      const page = this.#page(
        allQuotas.filter((one) => one.service === service),
        (one) => one.code,
        "ListServiceQuotas",
        input,
        call,
      );
      return {
        Quotas: page.items.map((one) =>
          this.#show(one, call, this.quotas.limit(call.account_id, one))
        ),
        NextToken: page.nextToken,
      };
    },
    ListServices: (input, call) => {
      const page = this.#page(
        Object.entries(services),
        ([code]) => code,
        "ListServices",
        input,
        call,
      );
      return {
        Services: page.items.map(([ServiceCode, ServiceName]) => ({ ServiceCode, ServiceName })),
        NextToken: page.nextToken,
      };
    },
    RequestServiceQuotaIncrease: async (input, call) => {
      const quota = this.#quota(input);
      const { DesiredValue = NaN } = input;
      if (!quota.adjustable) throw illegal(`The quota ${quota.code} is the same for everybody.`);
      if (!(DesiredValue > this.quotas.limit(call.account_id, quota)) || DesiredValue > 1e9) {
        throw illegal(
          "The desired value must be larger than the quota is, and at most 1,000,000,000.",
        );
      }
      return await this.records.serialised(call.account_id, async () => {
        for (const one of this.records.all(quotaRequest, call.account_id)) {
          if (one.shape.QuotaCode === quota.code && this.#request(one, call).Status === "PENDING") {
            throw new AwsError(
              "ResourceAlreadyExistsException",
              `Only one open request for an increase is allowed per quota: ${one.id} is pending.`,
            );
          }
        }
        const record = await this.records.create(quotaRequest, call.account_id, {
          ServiceCode: quota.service,
          QuotaCode: quota.code,
          DesiredValue,
          Requester: JSON.stringify({ accountId: call.account_id, callerArn: call.principal_arn }),
        }, { id: newId(quotaRequest.idPrefix) });
        return { RequestedQuota: this.#request(record, call) };
      });
    },
  };

  /** Answers `servicequotas.<Action>`, and the operator. */
  register(bus: Bus): void {
    for (const [action, handle] of Object.entries(this.handlers)) {
      bus.answer(
        subject<Partial_<In> | null, unknown>(`servicequotas.${action}`),
        async (input, context) => await handle(input ?? {}, context),
      );
    }
    bus.answer(accountQuotas, async ({ account_id, set }) => {
      if (!/^\d{12}$/.test(account_id)) throw illegal("An account's id has twelve digits.");
      if (set !== undefined) await this.quotas.set(account_id, set.code, set.value);
      return allQuotas.map((quota) => ({
        code: quota.code,
        name: quota.name,
        adjustable: quota.adjustable,
        value: this.quotas.limit(account_id, quota),
        wanted: Math.max(
          0,
          ...[...this.records.all(quotaRequest, account_id)]
            .filter(({ shape }) => shape.QuotaCode === quota.code)
            .map(({ shape }) => shape.DesiredValue),
        ),
      }));
    });
  }
}
