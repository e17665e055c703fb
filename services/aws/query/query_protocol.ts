/**
 * EC2 query and AWS query as one protocol with two dialects: reads a call, writes its answer or error.
 */
import type { Operation, QueryService } from "../schema/catalog.ts";
import { AwsError } from "../errors.ts";
import { type JsonObject, QueryDecoder } from "./query_decode.ts";
import { type FormTree, readForm } from "./query_form.ts";
import { escapeXml, structureXml } from "./xml_encode.ts";

export interface QueryCall {
  readonly action: string;
  readonly operation: Operation;
  readonly input: JsonObject;
}

/** Parameters of every call that belong to the protocol and to signatures, not to the operation. */
const protocolParameters: ReadonlySet<string> = new Set([
  "Action",
  "Version",
  "AWSAccessKeyId",
  "X-Amz-Algorithm",
  "X-Amz-Content-Sha256",
  "X-Amz-Credential",
  "X-Amz-Date",
  "X-Amz-Expires",
  "X-Amz-Security-Token",
  "X-Amz-Signature",
  "X-Amz-SignedHeaders",
]);

const decoders = { ec2: new QueryDecoder("ec2"), aws: new QueryDecoder("aws") };

/** The parameters of a call from its query string and its body. */
export function readParameters(service: QueryService, query: string, body: string): FormTree {
  return readForm(service.flavour, body, readForm(service.flavour, query));
}

/** The name of the action, before anything else of the call is looked at. */
export function actionOf(service: QueryService, parameters: FormTree): string {
  const action = parameters.get("Action");
  if (typeof action !== "string" || action === "") {
    throw new AwsError("MissingAction", "The request must contain the parameter Action");
  }
  if (service.operation(action) === undefined) {
    const shown = /^[A-Za-z0-9]{1,80}$/.test(action) ? action : "given";
    throw new AwsError(
      "InvalidAction",
      `The action ${shown} is not valid for this web service.`,
    );
  }
  return action;
}

/**
 * Decodes and validates a call.
 * @throws AwsError that names the first parameter at fault
 */
export function readCall(service: QueryService, parameters: FormTree): QueryCall {
  const action = actionOf(service, parameters);
  const operation = service.operation(action);
  if (operation === undefined) throw new AwsError("InvalidAction", "The action is not valid.");
  const input = decoders[service.flavour].decode(operation.input, parameters, protocolParameters);
  return { action, operation, input };
}

const declaration = '<?xml version="1.0" encoding="UTF-8"?>\n';

/** What stands before and after the output's members in the answer to a call. */
export function answerFrame(
  service: QueryService,
  operation: Operation,
  request_id: string,
): [before: string, after: string] {
  const root = `${operation.name}Response`;
  const open = `${declaration}<${root} xmlns="${service.xml_namespace}">`;
  if (service.flavour === "ec2") {
    return [`${open}<requestId>${request_id}</requestId>`, `</${root}>`];
  }
  const [resultOpen, resultClose] = operation.output === undefined
    ? ["", ""]
    : [`<${operation.name}Result>`, `</${operation.name}Result>`];
  const metadata = `<ResponseMetadata><RequestId>${request_id}</RequestId></ResponseMetadata>`;
  return [`${open}${resultOpen}`, `${resultClose}${metadata}</${root}>`];
}

/** The answer to a call. @throws TypeError when the output does not fit the operation's shape */
export function writeAnswer(
  service: QueryService,
  operation: Operation,
  output: unknown,
  request_id: string,
): string {
  const [before, after] = answerFrame(service, operation, request_id);
  // EC2 says `return` where an operation has nothing else to say.
  const nothing = service.flavour === "ec2" ? "<return>true</return>" : "";
  const inner = operation.output === undefined
    ? nothing
    : structureXml(operation.output, output ?? {});
  return before + inner + after;
}

/** An error in the dialect of the service. */
export function writeError(
  flavour: QueryService["flavour"],
  xml_namespace: string,
  error: AwsError,
  request_id: string,
): string {
  const code = escapeXml(error.code);
  const message = escapeXml(error.message);
  if (flavour === "ec2") {
    return `${declaration}<Response><Errors><Error><Code>${code}</Code><Message>${message}</Message></Error></Errors><RequestID>${request_id}</RequestID></Response>`;
  }
  const type = error.status >= 500 ? "Receiver" : "Sender";
  return `${declaration}<ErrorResponse xmlns="${xml_namespace}"><Error><Type>${type}</Type><Code>${code}</Code><Message>${message}</Message></Error><RequestId>${request_id}</RequestId></ErrorResponse>`;
}
