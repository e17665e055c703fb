/** What every family of actions works with, and words that they share. */
import { AwsError } from "../aws/errors.ts";
import { missingParameter } from "../resources/errors.ts";
import type { Operations, ParameterKinds } from "../resources/operations.ts";
import type { Records } from "../resources/records.ts";

export interface Network {
  readonly operations: Operations;
  readonly records: Records;
  readonly region: string;
  readonly az: string;
}

/** Request members that name one of our resources, whatever the operation. */
export const parameters: ParameterKinds = {
  VpcId: "vpc",
  SubnetId: "subnet",
  SubnetIds: "subnet",
  NetworkInterfaceId: "network-interface",
  TransitGatewayId: "transit-gateway",
  VpnGatewayId: "vpn-gateway",
  CustomerGatewayId: "customer-gateway",
  RouteTableId: "route-table",
  SecurityGroupIds: "security-group",
};

/** Exactly one of the members is given. @throws AwsError */
export function exactlyOne<T extends object>(input: T, names: readonly (keyof T & string)[]): void {
  const given = names.filter((name) => input[name] !== undefined);
  if (given.length === 0) throw missingParameter(names.join(" or "));
  if (given.length > 1) {
    throw new AwsError(
      "InvalidParameterCombination",
      `The parameters ${given.join(" and ")} cannot be used together.`,
    );
  }
}

/** The member, or AWS's word for its absence. */
export function given<T>(value: T | undefined, name: string): T {
  if (value === undefined || value === "") throw missingParameter(name);
  return value;
}

/** One of AWS's values. @throws AwsError `InvalidParameterValue` */
export function oneOf<T extends string>(
  value: string | undefined,
  allowed: readonly T[],
  name: string,
  otherwise: T,
): T {
  if (value === undefined) return otherwise;
  const found = allowed.find((one) => one === value);
  if (found === undefined) {
    throw new AwsError(
      "InvalidParameterValue",
      `Value (${value}) for parameter ${name} is invalid. Expected: ${allowed.join(", ")}.`,
    );
  }
  return found;
}

/** @throws AwsError `InvalidParameterValue` out of range */
export function within(value: number, least: number, most: number, name: string): number {
  if (!Number.isInteger(value) || value < least || value > most) {
    throw new AwsError(
      "InvalidParameterValue",
      `Value (${value}) for parameter ${name} is invalid. Expected a whole number from ${least} to ${most}.`,
    );
  }
  return value;
}

export const arn = (region: string, account: string, type: string, id: string) =>
  `arn:aws:ec2:${region}:${account}:${type}/${id}`;

/** The members that the request has, of these: what a modification takes over as it is. */
export function pick<T extends object, N extends keyof T & string>(
  input: T,
  names: readonly N[],
): Partial<Pick<T, N>> {
  return Object.fromEntries(
    names.flatMap((name) => input[name] === undefined ? [] : [[name, input[name]]]),
  ) as Partial<Pick<T, N>>;
}

/** A list with some added and some taken away, each once. */
export const merged = (
  present: readonly string[] | undefined,
  added: readonly string[] | undefined,
  removed: readonly string[] | undefined,
): string[] =>
  [...new Set([...present ?? [], ...added ?? []])].filter((one) => !removed?.includes(one));

/** Does the work for each id by itself, and tells in EC2's form for which it was refused. */
export async function unsuccessful(
  ids: readonly string[],
  work: (id: string) => Promise<void>,
) {
  const failed: { Error: { Code: string; Message: string }; ResourceId: string }[] = [];
  for (const ResourceId of ids) {
    try {
      await work(ResourceId);
    } catch (error) {
      if (!(error instanceof AwsError) || error.status >= 500) throw error;
      failed.push({ Error: { Code: error.code, Message: error.message }, ResourceId });
    }
  }
  return { Unsuccessful: failed };
}
