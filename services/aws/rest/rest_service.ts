/**
 * A service that is called by REST: its protocol, its codes and every operation that AWS's own
 * client package describes.
 */
import * as ebs from "@aws-sdk/client-ebs";
import { type FaultCodes, jsonFaults, RestFaults, xmlFaults } from "./rest_fault.ts";
import { type RestTemplate, templateOf } from "./rest_route.ts";
import { RestCompiler, type RestMessage } from "./rest_shape.ts";
import { operationsOf } from "../schema/smithy_schema.ts";

export interface RestOperation {
  readonly name: string;
  readonly template: RestTemplate;
  readonly status: number;
  readonly input: RestMessage | undefined;
  readonly output: RestMessage | undefined;
}

export interface RestServiceOptions {
  readonly protocol: "restJson1" | "restXml";
  /** Of XML documents. */
  readonly xml_namespace?: string;
  readonly fault_codes?: FaultCodes;
  /** S3 writes `<Error>` alone, others put it into `<ErrorResponse>`. */
  readonly bare_errors?: boolean;
  /** Whose answer is the text of the root element and not an element inside it. */
  readonly bare_answers?: readonly string[];
}

export class RestService {
  readonly protocol: "restJson1" | "restXml";
  readonly xml_namespace: string;
  readonly faults: RestFaults;
  readonly bare_errors: boolean;
  readonly bare_answers: ReadonlySet<string>;
  readonly operations: readonly RestOperation[];

  constructor(
    readonly name: string,
    client: Readonly<Record<string, unknown>>,
    options: RestServiceOptions,
  ) {
    this.protocol = options.protocol;
    this.xml_namespace = options.xml_namespace ?? "";
    const codes = options.protocol === "restJson1" ? jsonFaults : xmlFaults;
    this.faults = new RestFaults(options.fault_codes ?? codes);
    this.bare_errors = options.bare_errors === true;
    this.bare_answers = new Set(options.bare_answers);
    const compiler = new RestCompiler();
    // Routes need every operation's members; what they hold is compiled when a call needs it.
    this.operations = operationsOf(client).flatMap(({ name, http, input, output }) => {
      if (http === undefined) return [];
      const [method, uri, status] = http;
      const message = compiler.message(input);
      return {
        name,
        template: templateOf(method, uri, message),
        status,
        input: message,
        output: compiler.message(output),
      };
    });
  }
}

const services: ReadonlyMap<string, RestService> = new Map([
  ["ebs", new RestService("ebs", ebs, { protocol: "restJson1" })],
]);

/** The service that a credential scope names, where it is called by REST. */
export function restService(name: string): RestService | undefined {
  return services.get(name);
}
