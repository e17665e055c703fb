/**
 * The one door to the Smithy runtime: how the schemas inside the AWS clients are read.
 *
 * A schema is an array whose first place says its kind (9 is an operation); the clients export each
 * one with a `$` behind its name.
 */
import { NormalizedSchema } from "@smithy/core/schema";

export { NormalizedSchema };
export type SchemaRef = Parameters<typeof NormalizedSchema.of>[0];

const operationKind = 9;

export interface OperationSchema {
  readonly name: string;
  readonly input: SchemaRef;
  readonly output: SchemaRef;
  /** Method, path template and status, of operations that are called by REST. */
  readonly http: HttpTrait | undefined;
}

export type HttpTrait = readonly [method: string, uri: string, status: number];

function httpTrait(traits: unknown): HttpTrait | undefined {
  if (typeof traits !== "object" || traits === null || !("http" in traits)) return undefined;
  const { http } = traits;
  if (!Array.isArray(http)) return undefined;
  const [method, uri, status] = http;
  if (typeof method !== "string" || typeof uri !== "string") return undefined;
  return [method, uri, typeof status === "number" ? status : 200];
}

/** Every operation that a client package describes. */
export function operationsOf(client: Readonly<Record<string, unknown>>): OperationSchema[] {
  const found: OperationSchema[] = [];
  for (const value of Object.values(client)) {
    if (!Array.isArray(value) || value[0] !== operationKind) continue;
    const [, , name, traits, input, output] = value;
    if (typeof name !== "string") continue;
    found.push({ name, input, output, http: httpTrait(traits) });
  }
  return found;
}
