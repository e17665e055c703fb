/**
 * A subject that one service answers, with the types of question and answer. Only the name crosses
 * the wire; the types keep both ends of a contract honest at compile time.
 */
export interface Subject<Input, Output> {
  readonly name: string;
  /** How long an asker waits before it gives up. */
  readonly timeout_ms: number;
  readonly _types?: (input: Input) => Output;
}

/** Declares a subject in a service's contract. Ordinary calls have 30 s, launches 5 minutes. */
export function subject<Input, Output>(name: string, timeout_ms = 30_000): Subject<Input, Output> {
  return { name, timeout_ms };
}

/** The same subject on one node only: `node.<id>.<name>`. */
export function onNode<Input, Output>(
  nodeId: string,
  of: Subject<Input, Output>,
): Subject<Input, Output> {
  return { ...of, name: `node.${nodeId}.${of.name}` };
}

/** The queue group of all who share work that any node may do. */
export const workers = "hive-workers";

/** Who asks, and on whose behalf: made by the gateway, carried in headers through every call. */
export interface CallContext {
  readonly request_id: string;
  /** Twelve digits; empty for the system's own calls. */
  readonly account_id: string;
  readonly principal_arn: string;
  readonly access_key_id: string;
  readonly region: string;
  readonly source_ip: string;
  /** When the asker gives up: milliseconds since 1970. */
  readonly deadline_ms: number;
}

/** The context of a call that the system makes for itself. */
export function systemContext(
  timeout_ms: number,
  request_id: string = crypto.randomUUID(),
): CallContext {
  return {
    request_id,
    account_id: "",
    principal_arn: "",
    access_key_id: "",
    region: "",
    source_ip: "",
    deadline_ms: Date.now() + timeout_ms,
  };
}
