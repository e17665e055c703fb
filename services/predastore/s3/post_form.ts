/**
 * POST form upload: a browser sends a file with a policy that its site's owner has signed.
 *
 * The form's fields come before the file; they are gathered within bounds, the policy is verified and held
 * against them, and then the file streams into the store as any other body. What the policy does not name
 * is refused, as AWS does.
 */
import { createHmac, timingSafeEqual } from "node:crypto";
import { AwsError } from "../../aws/errors.ts";
import type { SigningGrant, SigningScope } from "../../aws/signatures/sigv4.ts";
import { invalidArgument } from "./call.ts";

type Bytes = Uint8Array<ArrayBuffer>;

const largestFields_bytes = 20 * 1024;
const mostFields = 100;

export interface PostForm {
  /** By name in lower case. */
  readonly fields: ReadonlyMap<string, string>;
  /** Undefined where the form names none. */
  readonly file_name: string | undefined;
  readonly file_type: string | undefined;
  /** The file's bytes; what comes behind it is read and left. */
  readonly file: AsyncGenerator<Bytes>;
}

const malformed = (message: string) => new AwsError("MalformedPOSTRequest", message);

function indexOf(bytes: Bytes, of: Bytes, from = 0): number {
  return Buffer.from(bytes.buffer, bytes.byteOffset, bytes.length).indexOf(of, from);
}

const encoder = new TextEncoder();
const decoder = new TextDecoder();

/** Takes a stream apart at marks, holding little more than a mark. */
class Reader {
  readonly #chunks: AsyncIterator<Uint8Array>;
  #held: Bytes = new Uint8Array(0);
  #ended = false;

  constructor(chunks: AsyncIterable<Uint8Array>) {
    this.#chunks = chunks[Symbol.asyncIterator]();
  }

  async #more(): Promise<boolean> {
    if (this.#ended) return false;
    const { value, done } = await this.#chunks.next();
    if (done === true) {
      this.#ended = true;
      return false;
    }
    this.#held = new Uint8Array(Buffer.concat([this.#held, value]));
    return true;
  }

  /** All up to the mark, which is taken too. @throws when it is longer than `most` or never comes */
  async until(mark: Bytes, most: number): Promise<Bytes> {
    for (;;) {
      const at = indexOf(this.#held, mark);
      if (at >= 0 && at <= most) {
        const before = this.#held.slice(0, at);
        this.#held = this.#held.slice(at + mark.length);
        return before;
      }
      if (at > most || this.#held.length > most + mark.length) {
        throw new AwsError(
          "MaxPostPreDataLengthExceededError",
          "Your POST request fields preceding the upload file were too large.",
        );
      }
      if (!await this.#more()) {
        throw malformed("The body of your POST request is not well-formed multipart/form-data.");
      }
    }
  }

  /** Bytes up to the mark, as they come. */
  async *stream(mark: Bytes): AsyncGenerator<Bytes> {
    for (;;) {
      const at = indexOf(this.#held, mark);
      if (at >= 0) {
        if (at > 0) yield this.#held.slice(0, at);
        this.#held = this.#held.slice(at + mark.length);
        break;
      }
      const sure = this.#held.length - mark.length + 1;
      if (sure > 0) {
        yield this.#held.slice(0, sure);
        this.#held = this.#held.slice(sure);
      }
      if (!await this.#more()) {
        throw new AwsError(
          "IncompleteBody",
          "The body of your POST request ended before the file did.",
        );
      }
    }
    while (await this.#more()) this.#held = new Uint8Array(0);
  }
}

/** @throws AwsError `MalformedPOSTRequest` and its kin */
export async function readForm(
  contentType: string,
  chunks: AsyncIterable<Uint8Array>,
): Promise<PostForm> {
  const boundary = /;\s*boundary=(?:"([^"]{1,200})"|([^;\s]{1,200}))/i.exec(contentType);
  const name = boundary?.[1] ?? boundary?.[2];
  if (name === undefined) throw malformed("The body of your POST request has no boundary.");
  const reader = new Reader(chunks);
  const line = encoder.encode("\r\n");
  const mark = encoder.encode(`\r\n--${name}`);
  await reader.until(encoder.encode(`--${name}`), largestFields_bytes);
  const fields = new Map<string, string>();
  let left = largestFields_bytes;
  for (let number = 0; number < mostFields; number++) {
    const rest = decoder.decode(await reader.until(line, 100));
    if (rest.startsWith("--")) break;
    const head = decoder.decode(await reader.until(encoder.encode("\r\n\r\n"), 8 * 1024));
    const disposition = /content-disposition:[^\r\n]*/i.exec(head)?.[0] ?? "";
    const field = /;\s*name="([^"]*)"/i.exec(disposition)?.[1];
    if (field === undefined) throw malformed("A part of your POST request has no name.");
    if (field.toLowerCase() === "file") {
      return {
        fields,
        file_name: /;\s*filename="([^"]*)"/i.exec(disposition)?.[1],
        file_type: /content-type:\s*([^\r\n]+)/i.exec(head)?.[1]?.trim(),
        file: reader.stream(mark),
      };
    }
    const value = await reader.until(mark, left);
    left -= value.length;
    fields.set(field.toLowerCase(), decoder.decode(value));
  }
  throw invalidArgument("POST requires exactly one file upload per request.", "file", "0");
}

const denied = (message: string) => new AwsError("AccessDenied", message, { status: 403 });
/** The condition is shown as AWS writes it, with a blank between its parts. */
const failed = (condition: readonly unknown[]) =>
  denied(
    `Invalid according to Policy: Policy Condition failed: [${
      condition.map((one) => JSON.stringify(one)).join(", ")
    }]`,
  );
const invalidPolicy = (message: string) =>
  new AwsError("InvalidPolicyDocument", `Invalid Policy: ${message}`);

export interface SignedForm {
  readonly scope: SigningScope;
  readonly grant: SigningGrant;
  readonly signing_key: Uint8Array;
  readonly amz_date: string;
  /** What the policy allows of the file's length. */
  readonly least_bytes: number;
  readonly most_bytes: number;
}

/** Verifies who signed the form's policy. @throws AwsError */
export async function verifyForm(
  { fields }: Pick<PostForm, "fields">,
  bucket: string,
  lookup: (scope: SigningScope) => Promise<SigningGrant>,
  now_ms = Date.now(),
): Promise<SignedForm> {
  const policy = fields.get("policy");
  if (policy === undefined) throw denied("Access Denied");
  const needed = (name: string) => {
    const value = fields.get(name.toLowerCase());
    if (value === undefined) {
      throw invalidArgument(
        `Bucket POST must contain a field named '${name}'.  If it is specified, please check the order of the fields.`,
        name,
        "",
      );
    }
    return value;
  };
  if (needed("X-Amz-Algorithm") !== "AWS4-HMAC-SHA256") {
    throw invalidArgument("Only AWS4-HMAC-SHA256 is supported");
  }
  const parts = needed("X-Amz-Credential").split("/");
  const [access_key_id = "", date = "", region = "", service = "", end = ""] = parts;
  if (parts.length !== 5 || service !== "s3" || end !== "aws4_request" || !/^\d{8}$/.test(date)) {
    throw invalidArgument("The credential in the form is malformed.");
  }
  const token = fields.get("x-amz-security-token");
  const scope: SigningScope = {
    access_key_id,
    date,
    region,
    service,
    ...(token === undefined ? {} : { session_token: token }),
  };
  const grant = await lookup(scope);
  const signing_key = Uint8Array.fromBase64(grant.key);
  const expected = createHmac("sha256", signing_key).update(policy).digest();
  const given = Buffer.from(needed("X-Amz-Signature"), "hex");
  if (given.length !== expected.length || !timingSafeEqual(given, expected)) {
    throw new AwsError(
      "SignatureDoesNotMatch",
      "The request signature we calculated does not match the signature you provided. Check your key and signing method.",
      { status: 403 },
    );
  }
  return {
    scope,
    grant,
    signing_key,
    amz_date: needed("X-Amz-Date"),
    ...checkPolicy(policy, new Map([...fields, ["bucket", bucket]]), now_ms),
  };
}

/** What a policy is at all, before its conditions are looked at. @throws AwsError `InvalidPolicyDocument` */
function readPolicy(
  encoded: string,
): { readonly ends_ms: number; readonly conditions: readonly unknown[] } {
  if (encoded.trim() === "") throw invalidPolicy("Expecting '{' but found End-of-Input");
  let bytes: Uint8Array;
  try {
    bytes = Uint8Array.fromBase64(encoded);
  } catch {
    throw invalidPolicy("invalid Base64 encoding.");
  }
  let policy: { readonly expiration?: unknown; readonly conditions?: unknown } | null;
  try {
    policy = JSON.parse(decoder.decode(bytes));
  } catch {
    throw invalidPolicy("Invalid JSON.");
  }
  const { expiration, conditions } = policy ?? {};
  if (expiration === undefined) throw invalidPolicy("Policy missing expiration.");
  const ends_ms = /^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?Z$/.test(String(expiration))
    ? Date.parse(String(expiration))
    : NaN;
  if (Number.isNaN(ends_ms)) {
    throw invalidPolicy(`Invalid 'expiration' value: '${String(expiration)}'`);
  }
  if (conditions === undefined) throw invalidPolicy("Policy missing conditions.");
  if (!Array.isArray(conditions)) {
    throw invalidPolicy("Invalid 'conditions' value: must be a List.");
  }
  return { ends_ms, conditions };
}

const wrongNumber = (operation: string) =>
  invalidPolicy(`Invalid ${operation}: wrong number of arguments.`);

function partsOf(
  condition: unknown,
): readonly [how: "eq" | "starts-with", variable: string, value: string] {
  if (Array.isArray(condition)) {
    if (condition.length === 0) {
      throw invalidPolicy("Invalid Condition: missing operation identifier.");
    }
    const how = String(condition[0]).toLowerCase();
    if (how !== "eq" && how !== "starts-with") {
      throw invalidPolicy(`Invalid Condition: unknown operation '${String(condition[0])}'.`);
    }
    if (condition.length !== 3) throw wrongNumber(how);
    return [how, String(condition[1]), String(condition[2])];
  }
  if (typeof condition !== "object" || condition === null) {
    throw invalidPolicy("Invalid condition test: must be a List or Object.");
  }
  const [only, ...more] = Object.entries(condition);
  if (only === undefined || more.length > 0) {
    throw invalidPolicy(
      "Invalid Simple-Condition: Simple-Conditions must have exactly one property specified.",
    );
  }
  return ["eq", `$${only[0]}`, String(only[1])];
}

/** Fields that a policy need not name. */
const exempt = /^(x-amz-signature|policy|file|x-ignore-.*|bucket)$/;

function checkPolicy(
  encoded: string,
  fields: ReadonlyMap<string, string>,
  now_ms: number,
): { readonly least_bytes: number; readonly most_bytes: number } {
  const { ends_ms, conditions } = readPolicy(encoded);
  if (ends_ms < now_ms) throw denied("Invalid according to Policy: Policy expired.");
  const named = new Set<string>();
  let least_bytes = 0;
  let most_bytes = Infinity;
  for (const condition of conditions) {
    if (Array.isArray(condition) && condition[0] === "content-length-range") {
      if (condition.length !== 3) throw wrongNumber("content-length-range");
      least_bytes = Number(condition[1]);
      most_bytes = Number(condition[2]);
      if (!(least_bytes >= 0 && most_bytes >= least_bytes)) throw failed(condition);
      continue;
    }
    const [how, variable, value] = partsOf(condition);
    const name = variable.slice(1).toLowerCase();
    named.add(name);
    const has = fields.get(name) ?? "";
    const holds = how === "eq" ? has === value : has.startsWith(value);
    if (!holds || !variable.startsWith("$")) throw failed([how, variable, value]);
  }
  for (const name of fields.keys()) {
    if (!named.has(name) && !exempt.test(name)) {
      throw denied(`Invalid according to Policy: Extra input fields: ${name}`);
    }
  }
  return { least_bytes, most_bytes };
}
