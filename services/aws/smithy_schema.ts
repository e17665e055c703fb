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
}

/** Every operation that a client package describes. */
export function operationsOf(client: Readonly<Record<string, unknown>>): OperationSchema[] {
  const found: OperationSchema[] = [];
  for (const value of Object.values(client)) {
    if (!Array.isArray(value) || value[0] !== operationKind) continue;
    const [, , name, , input, output] = value;
    if (typeof name === "string") found.push({ name, input, output });
  }
  return found;
}
