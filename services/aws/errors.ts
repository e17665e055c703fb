/**
 * The one error that a caller of the API may see. Thrown anywhere, carried over the bus, and turned
 * into the protocol's XML or JSON at the gateway's edge. Everything else is an internal fault.
 */
export class AwsError extends Error {
  override readonly name = "AwsError";
  readonly status: number;
  /** AWS's word for why, in APIs whose errors have one besides their code. */
  readonly reason?: string;

  /**
   * @param code AWS's own error code, for example `InvalidVolume.NotFound`
   * @param message what happened and, where it helps, what to do next
   * @param options.status HTTP status; 400 unless given (S3 and 5xx differ)
   */
  constructor(
    readonly code: string,
    message: string,
    options: { status?: number; reason?: string; cause?: unknown } = {},
  ) {
    super(message, options.cause === undefined ? undefined : { cause: options.cause });
    this.status = options.status ?? 400;
    if (options.reason !== undefined) this.reason = options.reason;
  }
}

/** A fault of ours: says nothing of its insides to the caller; the log has the cause. */
export function internalError(cause: unknown): AwsError {
  return new AwsError(
    "InternalError",
    "An internal error has occurred. Retry the request; if it persists, see `hive logs`.",
    { status: 500, cause },
  );
}

/** Nobody who could answer is there, or nobody answered before the deadline. */
export function unavailable(what: string, cause?: unknown): AwsError {
  return new AwsError(
    "ServiceUnavailable",
    `${what} did not answer. Retry in a moment; \`hive status\` shows which service is down.`,
    { status: 503, cause },
  );
}

/**
 * What every API besides EC2's, IAM's and S3's says where policies refuse.
 * @param status 403; of the APIs that speak JSON with a target 400
 */
export const accessDenied = (
  principal: string,
  action: string,
  status: 400 | 403,
  resource?: string,
): AwsError =>
  new AwsError(
    "AccessDeniedException",
    `User: ${principal} is not authorized to perform: ${action}${
      resource === undefined ? "" : ` on resource: ${resource}`
    }`,
    { status },
  );
