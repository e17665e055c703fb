/** What S3 answers over the wire, before a client makes its own of it: status, headers and the document. */
import type { S3Client } from "@aws-sdk/client-s3";
import assert from "node:assert/strict";

export interface Answered {
  readonly status: number;
  readonly headers: Readonly<Record<string, string>>;
  readonly text: string;
}

/** Any command of the client's: each has its own types, of which none matters here. */
interface Command {
  readonly middlewareStack: unknown;
}

interface Stack {
  add(middleware: unknown, options: { readonly step: string; readonly priority: "low" }): void;
}

type Next = (args: unknown) => Promise<{ readonly response: unknown }>;

/** Sends a command, with headers that the client would not let through, and keeps what came back. */
export async function answered(
  s3: S3Client,
  command: Command,
  more: Readonly<Record<string, string>> = {},
): Promise<Answered> {
  let heard: Answered | undefined;
  const stack = command.middlewareStack as Stack;
  stack.add(
    (next: Next) => (args: { readonly request: unknown }) => {
      const { headers } = args.request as { headers: Record<string, string> };
      Object.assign(headers, more);
      return next(args);
    },
    { step: "build", priority: "low" },
  );
  stack.add(
    (next: Next) => async (args: unknown) => {
      const result = await next(args);
      const response = result.response as {
        statusCode: number;
        headers: Record<string, string>;
        body: AsyncIterable<Uint8Array> | Uint8Array | undefined;
      };
      const chunks: Uint8Array[] = [];
      if (response.body !== undefined && !(response.body instanceof Uint8Array)) {
        for await (const chunk of response.body) chunks.push(chunk);
      }
      const bytes = Buffer.concat(chunks);
      response.body = new Uint8Array(bytes);
      heard = {
        status: response.statusCode,
        headers: response.headers,
        text: bytes.toString("utf8"),
      };
      return result;
    },
    { step: "deserialize", priority: "low" },
  );
  const failed = await s3.send(command as never).then(() => undefined, (error) => error);
  if (heard === undefined) throw failed;
  return heard;
}

/** The text of the first element of that name; undefined where there is none. */
export function elementOf(text: string, name: string): string | undefined {
  const found = new RegExp(`<${name}>([^<]*)</${name}>|<${name}/>`).exec(text);
  return found === null ? undefined : (found[1] ?? "").replaceAll("&quot;", '"')
    .replaceAll("&lt;", "<").replaceAll("&gt;", ">").replaceAll("&apos;", "'").replaceAll(
      "&amp;",
      "&",
    );
}

/** Fails unless the answer has this status and these elements; undefined means that it must not be there. */
export function assertAnswer(
  answer: Pick<Answered, "status" | "text">,
  status: number,
  elements: Readonly<Record<string, string | undefined>>,
): void {
  assert.equal(answer.status, status, answer.text);
  for (const [name, value] of Object.entries(elements)) {
    assert.equal(elementOf(answer.text, name), value, `${name} in ${answer.text}`);
  }
}
