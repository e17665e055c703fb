/**
 * The AWS services whose calls this cloud can read: name, protocol, version, and every operation
 * that AWS's own client package describes, whether anybody here answers it or not.
 */
import * as ec2 from "@aws-sdk/client-ec2";
import * as iam from "@aws-sdk/client-iam";
import * as sts from "@aws-sdk/client-sts";
import { type QueryFlavour, ShapeCompiler, type StructureShape } from "./shape.ts";
import { type OperationSchema, operationsOf } from "./smithy_schema.ts";

export interface Operation {
  readonly name: string;
  readonly input: StructureShape | undefined;
  readonly output: StructureShape | undefined;
}

/** One service that speaks a query protocol. */
export class QueryService {
  readonly #compiler: ShapeCompiler;
  readonly #schemas: ReadonlyMap<string, OperationSchema>;
  readonly #operations = new Map<string, Operation>();

  constructor(
    readonly name: "ec2" | "iam" | "sts",
    readonly flavour: QueryFlavour,
    readonly version: string,
    readonly xml_namespace: string,
    client: Readonly<Record<string, unknown>>,
  ) {
    this.#compiler = new ShapeCompiler(flavour);
    this.#schemas = new Map(operationsOf(client).map((schema) => [schema.name, schema]));
  }

  get actions(): readonly string[] {
    return [...this.#schemas.keys()];
  }

  /** The operation of that name, compiled on first use; nothing for a name AWS does not know. */
  operation(action: string): Operation | undefined {
    const known = this.#operations.get(action);
    if (known !== undefined) return known;
    const schema = this.#schemas.get(action);
    if (schema === undefined) return undefined;
    const made: Operation = {
      name: action,
      input: this.#compiler.structure(schema.input),
      output: this.#compiler.structure(schema.output),
    };
    this.#operations.set(action, made);
    return made;
  }
}

const services: ReadonlyMap<string, QueryService> = new Map(
  [
    new QueryService(
      "ec2",
      "ec2",
      "2016-11-15",
      "http://ec2.amazonaws.com/doc/2016-11-15/",
      ec2,
    ),
    new QueryService(
      "iam",
      "aws",
      "2010-05-08",
      "https://iam.amazonaws.com/doc/2010-05-08/",
      iam,
    ),
    new QueryService(
      "sts",
      "aws",
      "2011-06-15",
      "https://sts.amazonaws.com/doc/2011-06-15/",
      sts,
    ),
  ].map((service) => [service.name, service]),
);

/** The service that a credential scope names, where it speaks a query protocol. */
export function queryService(name: string): QueryService | undefined {
  return services.get(name);
}
