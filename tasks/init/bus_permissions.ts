/**
 * Who may say and hear what on the bus, as nats-server enforces it: the service table's words turned
 * into subjects, one nkey each.
 *
 * A service may answer and ask what its entry says, hear its own inbox, use the JetStream interface of
 * its own buckets and streams only, and answer any question once. It cannot delete or reconfigure a
 * bucket, nor read the inbox of another.
 */
import type { BusPermissions, ServiceSpec } from "../../services/manifest.ts";
import { readyEvent } from "../../services/runtime/run_service.ts";
import { auditTrail, strangersTrail } from "../../services/gateway/contract.ts";

export interface SubjectPermissions {
  readonly publish: readonly string[];
  readonly subscribe: readonly string[];
}

/** The operator's commands and the supervisor speak as this. */
export const operatorName = "operator";

/** What the operator may: ask every service, see events, read the audit streams, save all streams. */
export const operatorBus: BusPermissions = {
  hears: ["*.event.>"],
  says: [
    "health.>",
    "compute.>",
    "identity.admin_credentials",
    "identity.create_account",
    "identity.list_accounts",
    "identity.account_call",
    "console.login_link",
    "cluster.>",
    "ec2.>",
    "ebs.>",
    "node.>",
    "$JS.API.STREAM.NAMES",
    "$JS.API.STREAM.INFO.*",
    "$JS.API.STREAM.SNAPSHOT.*",
    "$JS.SNAPSHOT.ACK.>",
  ],
};

/** Subjects of a JetStream stream that those who follow it need. */
function streamSubjects(stream: string): string[] {
  return [
    `$JS.API.STREAM.INFO.${stream}`,
    // Creating what is there already with the same settings changes nothing; with others it fails.
    `$JS.API.STREAM.CREATE.${stream}`,
    `$JS.API.STREAM.MSG.GET.${stream}`,
    `$JS.API.DIRECT.GET.${stream}`,
    `$JS.API.DIRECT.GET.${stream}.>`,
    `$JS.API.CONSUMER.CREATE.${stream}`,
    `$JS.API.CONSUMER.CREATE.${stream}.>`,
    `$JS.API.CONSUMER.INFO.${stream}.>`,
    `$JS.API.CONSUMER.DELETE.${stream}.>`,
    `$JS.API.CONSUMER.MSG.NEXT.${stream}.>`,
    `$JS.ACK.${stream}.>`,
    `$JS.FC.${stream}.>`,
  ];
}

/** The subjects of one name on the bus. */
export function subjectPermissions(name: string, bus: BusPermissions): SubjectPermissions {
  const bucket = (of: string): string => {
    if (!/^[A-Za-z0-9_-]+$/.test(of)) {
      throw new RangeError(`${name}: "${of}" is no bucket; NATS cannot grant part of a name`);
    }
    return of;
  };
  const writes = (bus.writes ?? []).map(bucket);
  const reads = (bus.reads ?? []).map(bucket);
  const streams = bus.streams ?? [];
  const buckets = [...new Set([...writes, ...reads])];
  const usesJetStream = buckets.length > 0 || streams.length > 0;
  return {
    publish: [
      ...new Set([
        ...bus.says,
        readyEvent(name),
        ...writes.map((of) => `$KV.${of}.>`),
        ...(usesJetStream ? ["$JS.API.INFO"] : []),
        // The markers of what was deleted: whoever may delete may remove them too.
        ...writes.map((of) => `$JS.API.STREAM.PURGE.KV_${of}`),
        ...buckets.flatMap((of) => streamSubjects(`KV_${of}`)),
        ...streams.flatMap(streamSubjects),
      ]),
    ],
    subscribe: [...new Set([...bus.hears, `health.${name}.*`, `_INBOX.${name}.>`])],
  };
}

const quote = (text: string) => JSON.stringify(text);

/** One nkey and its permissions in the server's configuration language. */
function userBlock(publicKey: string, permissions: SubjectPermissions): string {
  const list = (subjects: readonly string[]) =>
    subjects.map((subject) => `            ${quote(subject)}`).join("\n");
  return `      {
        nkey: ${quote(publicKey)}
        permissions: {
          publish: { allow: [
${list(permissions.publish)}
          ] }
          subscribe: { allow: [
${list(permissions.subscribe)}
          ] }
          # One answer to each question, for as long as the longest of them may take.
          allow_responses: { max: 1, expires: "35m" }
        }
      }`;
}

export interface NatsSettings {
  readonly node_id: string;
  readonly port: number;
  readonly store_dir: string;
  readonly services: readonly ServiceSpec[];
  /** nkey public key of each name, the operator's too. */
  readonly publicKeys: ReadonlyMap<string, string>;
}

/** The whole configuration of the node's nats-server. */
export function natsConfig(settings: NatsSettings): string {
  const keyOf = (name: string): string => {
    const key = settings.publicKeys.get(name);
    if (key === undefined) throw new RangeError(`${name} has no nkey`);
    return key;
  };
  const users = [
    ...settings.services.filter((service) => service.name !== "nats").map((service) =>
      userBlock(keyOf(service.name), subjectPermissions(service.name, service.bus))
    ),
    userBlock(keyOf(operatorName), {
      ...subjectPermissions(operatorName, {
        ...operatorBus,
        streams: [auditTrail.stream, strangersTrail.stream],
      }),
    }),
  ];
  return `# Made from services/manifest.ts at every start; changes here are lost.
server_name: ${quote(settings.node_id)}
listen: "127.0.0.1:${settings.port}"
# Answers to describe calls over many resources are large.
max_payload: 8MB
jetstream {
  store_dir: ${quote(settings.store_dir)}
  # An acknowledged write survives a power cut only when it was synced before it was acknowledged.
  sync_interval: always
}
authorization {
  # A small board at the start of everything, or an emulated one, needs longer than the two seconds of the
  # server's own to answer its question; who does not answer is cut off, and its service fails.
  timeout: 60
  users: [
${users.join("\n")}
  ]
}
`;
}
