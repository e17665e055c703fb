/** Errors of S3, whose documents tell more than a code and a message. */
import { AwsError } from "./errors.ts";

type Named = Readonly<Record<string, string>>;

/** A refusal that tells more: in elements of its document, which SDKs hand on, and in headers. */
export class DetailedError extends AwsError {
  readonly elements: Named;
  readonly headers: Named;

  constructor(
    code: string,
    message: string,
    { status = 400, elements = {}, headers = {}, cause }: {
      readonly status?: number;
      readonly elements?: Named;
      readonly headers?: Named;
      readonly cause?: unknown;
    },
  ) {
    super(code, message, { status, ...(cause === undefined ? {} : { cause }) });
    this.elements = elements;
    this.headers = headers;
  }
}
