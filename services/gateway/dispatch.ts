/**
 * One query or JSON call from its signature to its answer: verify, name the action, authorise, decode,
 * ask the owner over the bus, encode.
 *
 * Each step may throw an `AwsError`, which `server.ts` turns into the protocol's words; nothing has
 * happened to any resource before the owner is asked.
 */
import { createHash } from "node:crypto";
import { type QueryService, queryService } from "../aws/schema/catalog.ts";
import { accessDenied, AwsError } from "../aws/errors.ts";
import { type JsonService, jsonService } from "../aws/rest/json_service.ts";
import { actionOf, readCall, readParameters } from "../aws/query/query_protocol.ts";
import { restProtocol } from "../aws/rest/rest_protocol.ts";
import { type RestService, restService } from "../aws/rest/rest_service.ts";
import type { SigningGrants } from "../aws/signatures/signing_grants.ts";
import { claimedScope, type Verified, verify } from "../aws/signatures/sigv4.ts";
import type { Bus } from "../bus/bus.ts";
import { type CallContext, subject } from "../bus/subject.ts";
import {
  computeActions,
  directActions,
  serviceQuotaActions,
  taggingActions,
} from "../compute/contract.ts";
import { identityActions } from "../identity/contract.ts";
import { unauthorizedOperation } from "../resources/errors.ts";
import { vpcdActions } from "../vpcd/contract.ts";
import type { Admission } from "./admission.ts";
import type { ResourceAuthorizer } from "../aws/authorizer.ts";
import type { QueryAnswers } from "./query_answers.ts";
import { type Edge, largestQueryBody_bytes, readBody } from "./edge.ts";
import { xmlHeaders } from "./error_reply.ts";

const launch_ms = 300_000;
const ordinary_ms = 30_000;

/** Who answers what. What AWS knows and nobody here owns is `UnsupportedOperation`. */
export const ownedActions: Readonly<Record<string, ReadonlySet<string>>> = {
  ec2: new Set([...computeActions, ...vpcdActions]),
  iam: new Set(identityActions.iam),
  sts: new Set(identityActions.sts),
  tagging: new Set(taggingActions),
  servicequotas: new Set(serviceQuotaActions),
  ebs: new Set(directActions),
};

/** What became known of a call on its way; the audit entry is made from it, however it ends. */
export interface CallNotes {
  service: string;
  action: string;
  account_id: string;
  principal_arn: string;
  /** Of an answer that is an error but was not thrown here: predastore's. */
  error_code?: string;
}

export interface DispatchParts {
  readonly bus: Bus;
  readonly grants: SigningGrants;
  readonly authorizer: ResourceAuthorizer;
  readonly admission: Admission;
  readonly answers: QueryAnswers;
  /** The cloud's own region; calls for any are taken where it is not given. */
  readonly region?: string | undefined;
}

function unsupported(service: QueryService, action: string): AwsError {
  return new AwsError(
    "UnsupportedOperation",
    `The operation ${service.name}:${action} is not supported by this cloud.`,
  );
}

/** Nobody here owns a REST operation: the caller is told which one it was, if it is one at all. */
function restRefusal(service: RestService, edge: Edge, notes: CallNotes): AwsError {
  const operation = restProtocol(service).route(edge.method, edge.target, edge.headers);
  if (operation === undefined) {
    return new AwsError(
      "UnknownOperationException",
      `The service ${service.name} has no operation with this method and path.`,
      { status: 404 },
    );
  }
  notes.action = operation.name;
  return new AwsError(
    "UnsupportedOperationException",
    `The operation ${service.name}:${operation.name} is not supported by this cloud.`,
  );
}

const decoder = new TextDecoder("utf-8", { fatal: true });

function textOf(body: Uint8Array): string {
  try {
    return decoder.decode(body);
  } catch (cause) {
    throw new AwsError("MalformedQueryString", "The request body is not UTF-8 text.", { cause });
  }
}

/** Operations whose bodies clients do not sign, as AWS's model of them says; a signed header has a body's checksum. */
const unsignedBodies: ReadonlySet<string> = new Set(["ebs:PutSnapshotBlock"]);

function mayBeUnsigned({ method, target, headers }: Edge, claimed: string): boolean {
  const rest = restService(claimed);
  if (rest === undefined) return false;
  const operation = restProtocol(rest).route(method, target, headers);
  return unsignedBodies.has(`${claimed}:${operation?.name}`);
}

/** The signature must be for the service that the call went to: one for S3 may not cover the body. */
async function verified(
  edge: Edge,
  claimed: string,
  body: Uint8Array,
  parts: DispatchParts,
): Promise<Verified> {
  const body_sha256 = createHash("sha256").update(body).digest("hex");
  return await verify(edge, parts.grants.lookup, {
    body_sha256,
    unsigned_payload: mayBeUnsigned(edge, claimed),
    ...(claimed === "" ? {} : { service: [claimed] }),
  });
}

/** The access key that the request names, if it is one of this cloud; whether it signed the request shows later. */
async function senderOf(edge: Edge, { grants }: DispatchParts): Promise<string | undefined> {
  const scope = claimedScope(edge);
  if (scope === undefined) return undefined;
  try {
    await grants.lookup(scope);
    return scope.access_key_id;
  } catch {
    // Why it is refused is said when the signature is verified.
    return undefined;
  }
}

async function receive(edge: Edge, claimed: string, parts: DispatchParts) {
  using _place = parts.admission.receive(claimed, await senderOf(edge, parts));
  const body = await readBody(edge.request, largestQueryBody_bytes);
  edge.received();
  const { grant, scope } = await verified(edge, claimed, body, parts);
  return { body, grant, scope };
}

/** A call whose signature is verified. */
interface Signed {
  readonly edge: Edge;
  readonly grant: Verified["grant"];
  readonly scope: Verified["scope"];
  readonly parts: DispatchParts;
}

function contextOf({ edge, grant, scope }: Signed, timeout_ms: number): CallContext {
  return {
    request_id: edge.request_id,
    account_id: grant.account_id,
    principal_arn: grant.principal_arn,
    access_key_id: scope.access_key_id,
    region: scope.region,
    source_ip: edge.source_ip,
    deadline_ms: Date.now() + timeout_ms,
  };
}

/** A REST call whose owner answers on the bus; bytes travel as base64, both ways. */
async function dispatchRest(
  service: RestService,
  body: Uint8Array,
  signed: Signed,
  notes: CallNotes,
): Promise<Response> {
  const { edge, parts } = signed;
  const protocol = restProtocol(service);
  const operation = protocol.route(edge.method, edge.target, edge.headers);
  if (operation === undefined || ownedActions[service.name]?.has(operation.name) !== true) {
    throw restRefusal(service, edge, notes);
  }
  notes.action = operation.name;
  const { target, headers } = edge;
  const read = protocol.readCall(operation, { target, headers, body });
  const input = Object.fromEntries(
    Object.entries(read).map(([name, value]) => [
      name,
      value instanceof Uint8Array ? value.toBase64() : value,
    ]),
  );
  const context = contextOf(signed, ordinary_ms);
  const action = `${service.name}:${operation.name}`;
  if (!await parts.authorizer.may({ action, resource: "*" }, context)) {
    throw accessDenied(context.principal_arn, action, 403);
  }
  const output = await parts.bus.ask(
    subject<typeof input, unknown>(action.replace(":", "."), ordinary_ms),
    input,
    context,
  );
  const answer = protocol.writeAnswer(operation, output, edge.request_id);
  return new Response((answer.body ?? null) as BodyInit | null, {
    status: answer.status,
    headers: { ...answer.headers },
  });
}

/** Policies know some services by another name than credential scopes do. */
const policyNames: Readonly<Record<string, string>> = { tagging: "tag" };

async function dispatchJson(
  service: JsonService,
  body: string,
  signed: Signed,
  notes: CallNotes,
): Promise<Response> {
  const { edge, parts } = signed;
  const operation = service.route(edge.method, edge.path, edge.headers.get("x-amz-target"));
  notes.action = operation.name;
  const input = service.readCall(operation, body);
  if (ownedActions[service.name]?.has(operation.name) !== true) {
    throw new AwsError(
      "UnsupportedOperationException",
      `The operation ${service.name}:${operation.name} is not supported by this cloud.`,
    );
  }
  const context = contextOf(signed, ordinary_ms);
  const action = `${policyNames[service.name] ?? service.name}:${operation.name}`;
  if (!await parts.authorizer.may({ action, resource: "*" }, context)) {
    throw accessDenied(context.principal_arn, action, 400);
  }
  const output = await parts.bus.ask(
    subject<typeof input, unknown>(`${service.name}.${operation.name}`, ordinary_ms),
    input,
    context,
  );
  return new Response(service.writeAnswer(operation, output), {
    headers: {
      "content-type": "application/x-amz-json-1.1",
      "x-amzn-requestid": edge.request_id,
    },
  });
}

/** Answers a signed call to `claimed`, the service that its credential scope names. */
export async function dispatch(
  edge: Edge,
  claimed: string,
  parts: DispatchParts,
  notes: CallNotes,
): Promise<Response> {
  const rest = restService(claimed);
  if (edge.method !== "POST" && edge.method !== "GET" && rest === undefined) {
    throw new AwsError("MethodNotAllowed", `The method ${edge.method} is not allowed here.`, {
      status: 405,
    });
  }
  const { body, grant, scope } = await receive(edge, claimed, parts);
  notes.account_id = grant.account_id;
  notes.principal_arn = grant.principal_arn;
  using _place = parts.admission.call(claimed, grant.account_id);
  const signed = { edge, grant, scope, parts };
  if (rest !== undefined) return await dispatchRest(rest, body, signed, notes);
  const json = jsonService(claimed);
  if (json !== undefined) return await dispatchJson(json, textOf(body), signed, notes);
  const service = queryService(claimed);
  if (service === undefined) {
    throw new AwsError("UnknownOperationException", `This cloud has no service "${claimed}".`);
  }
  // Resources are named and policies decide by region: a caller must not choose another name for them.
  if (service.name === "ec2" && scope.region !== (parts.region ?? scope.region)) {
    throw new AwsError(
      "AuthFailure",
      `Credential should be scoped to a valid region, not '${scope.region}'; this is ${parts.region}.`,
      { status: 401 },
    );
  }
  const parameters = readParameters(service, edge.query, textOf(body));
  const action = actionOf(service, parameters);
  notes.action = action;
  if (ownedActions[service.name]?.has(action) !== true) {
    // What is wrong with a call is said even of an operation that nobody here owns.
    readCall(service, parameters);
    throw unsupported(service, action);
  }

  const timeout_ms = action === "RunInstances" ? launch_ms : ordinary_ms;
  const context = contextOf(signed, timeout_ms);
  // Identity knows which user or key each of its own calls touches, and asks itself for exactly that.
  const wish = { action: `ec2:${action}`, resource: "*" };
  if (service.name === "ec2" && !await parts.authorizer.may(wish, context)) {
    throw unauthorizedOperation(wish.action, grant.principal_arn);
  }
  const call = readCall(service, parameters);
  const { content, bytes } = await parts.answers.ask(
    parts.bus,
    service,
    call,
    context,
    timeout_ms,
  );
  return new Response(content, {
    headers: { ...xmlHeaders(edge.request_id), "content-length": String(bytes) },
  });
}
