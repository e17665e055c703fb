/** What others may know of the gateway: the audit stream and how the console is reached. */
import { subject } from "../bus/subject.ts";

/** A JetStream stream of audit entries, on subjects `<prefix>.<service>.<action>`; the oldest go first. */
export interface AuditTrail {
  readonly stream: string;
  readonly prefix: string;
  readonly kept_bytes: number;
}

/** One entry for every API call of an account. */
export const auditTrail: AuditTrail = {
  stream: "AUDIT",
  prefix: "audit",
  kept_bytes: 256 * 1024 * 1024,
};

/** Of callers without an account, whose entries must not push out any of the other. */
export const strangersTrail: AuditTrail = {
  stream: "AUDIT_STRANGERS",
  prefix: "audit_strangers",
  kept_bytes: 64 * 1024 * 1024,
};

export interface AuditEntry {
  readonly ts: string;
  /** What tells entries apart. */
  readonly request_id: string;
  readonly service: string;
  readonly action: string;
  readonly account_id: string;
  readonly principal_arn: string;
  /** Of a call for which no account answers: the access key that it names. */
  readonly access_key_id?: string;
  readonly source_ip: string;
  readonly user_agent: string;
  readonly status: number;
  readonly error_code?: string;
  readonly duration_ms: number;
  /** Of an entry that stands for several calls, the last of which was at `until`: how many. */
  readonly count?: number;
  readonly until?: string;
}

/** A request for `/console…` that the gateway hands on; it is not signed, the console decides. */
export interface PageRequest {
  readonly method: "GET" | "HEAD" | "POST";
  /** Path and query. */
  readonly target: string;
  readonly cookie: string;
  readonly form: Readonly<Record<string, string>>;
}
export interface PageReply {
  readonly status: number;
  readonly headers: Readonly<Record<string, string>>;
  readonly body: string;
}
export const consolePage = subject<PageRequest, PageReply>("console.page", 10_000);

/**
 * Headers in which predastore's front door tells the gateway about a call; none of them reaches the
 * client. All but the last make the audit entry; the last stands for `Content-Encoding`, which an HTTP
 * client would take as its own to undo.
 */
export const frontReplyHeaders = {
  action: "x-mulga-action",
  accountId: "x-mulga-account-id",
  principalArn: "x-mulga-principal-arn",
  errorCode: "x-mulga-error-code",
  contentEncoding: "x-mulga-content-encoding",
} as const;
