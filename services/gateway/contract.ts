/** What others may know of the gateway: the audit stream and how the console is reached. */
import { subject } from "../bus/subject.ts";

/** The JetStream stream that keeps one entry for every API call, on subjects `audit.<service>.<action>`. */
export const auditStream = "AUDIT";

export interface AuditEntry {
  readonly ts: string;
  readonly request_id: string;
  readonly service: string;
  readonly action: string;
  readonly account_id: string;
  readonly principal_arn: string;
  readonly source_ip: string;
  readonly user_agent: string;
  readonly status: number;
  readonly error_code?: string;
  readonly duration_ms: number;
}

/** A request for `/console…` that the gateway hands on; it is not signed, the console decides. */
export interface PageRequest {
  readonly method: "GET" | "POST";
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
