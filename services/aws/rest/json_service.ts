/**
 * Services that speak awsJson1.1: every call is a POST to `/` whose `X-Amz-Target` names the operation,
 * with a JSON document each way.
 */
import * as quotas from "@aws-sdk/client-service-quotas";
import * as tagging from "@aws-sdk/client-resource-groups-tagging-api";
import { AwsError } from "../errors.ts";
import type { JsonObject } from "../query/query_decode.ts";
import { jsonFaults, RestFaults } from "./rest_fault.ts";
import { readJson, writeJson } from "./rest_json.ts";
import { RestCompiler, type RestStructure } from "./rest_shape.ts";
import { type OperationSchema, operationsOf } from "../schema/smithy_schema.ts";

export interface JsonOperation {
  readonly name: string;
  readonly input: RestStructure | undefined;
  readonly output: RestStructure | undefined;
}

export class JsonService {
  readonly faults = new RestFaults(jsonFaults);
  readonly #compiler = new RestCompiler();
  readonly #schemas: ReadonlyMap<string, OperationSchema>;
  readonly #operations = new Map<string, JsonOperation>();

  constructor(
    /** As credential scopes call it. */
    readonly name: string,
    /** What stands before the operation in `X-Amz-Target`. */
    readonly target: string,
    client: Readonly<Record<string, unknown>>,
  ) {
    this.#schemas = new Map(operationsOf(client).map((schema) => [schema.name, schema]));
  }

  get actions(): readonly string[] {
    return [...this.#schemas.keys()];
  }

  #operation(name: string): JsonOperation | undefined {
    const known = this.#operations.get(name);
    if (known !== undefined) return known;
    const schema = this.#schemas.get(name);
    if (schema === undefined) return undefined;
    const made: JsonOperation = {
      name,
      input: this.#compiler.message(schema.input)?.body,
      output: this.#compiler.message(schema.output)?.body,
    };
    this.#operations.set(name, made);
    return made;
  }

  /** The operation that a call names. @throws AwsError `UnknownOperationException` */
  route(method: string, path: string, target: string | null): JsonOperation {
    const prefix = `${this.target}.`;
    const found = method === "POST" && path === "/" && target?.startsWith(prefix) === true
      ? this.#operation(target.slice(prefix.length))
      : undefined;
    if (found !== undefined) return found;
    throw new AwsError(
      "UnknownOperationException",
      `The service ${this.name} has no operation for this method, path and X-Amz-Target.`,
    );
  }

  /** @throws AwsError that names the first member at fault */
  readCall(operation: JsonOperation, body: string): JsonObject {
    const text = body.trim() === "" ? "{}" : body;
    const empty: RestStructure = {
      kind: "structure",
      name: operation.name,
      root_name: operation.name,
      union: false,
      members: [],
      by_json_name: new Map(),
      by_xml_name: new Map(),
    };
    return readJson(this.faults, operation.input ?? empty, text);
  }

  /** @throws TypeError when the output does not fit its shape */
  writeAnswer(operation: JsonOperation, output: unknown): string {
    return operation.output === undefined ? "{}" : writeJson(operation.output, output ?? {});
  }
}

const services: ReadonlyMap<string, JsonService> = new Map(
  [
    new JsonService("tagging", "ResourceGroupsTaggingAPI_20170126", tagging),
    new JsonService("servicequotas", "ServiceQuotasV20190624", quotas),
  ].map((service) => [service.name, service]),
);

/** The service that a credential scope names, where it speaks awsJson1.1. */
export function jsonService(name: string): JsonService | undefined {
  return services.get(name);
}
