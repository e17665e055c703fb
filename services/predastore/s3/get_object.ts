/** GetObject and HeadObject. */
import { AwsError } from "../../aws/errors.ts";
import { errorFields } from "../../log/log.ts";
import { reusedAfter } from "../extents/piece_memory.ts";
import type { Bytes } from "../index/columns.ts";
import type { ObjectRow } from "../index/rows.ts";
import { answerBody } from "./answer_body.ts";
import { DetailedError, ownBucket, type S3Call } from "./call.ts";
import { asksChecksum, tellChecksum, untellChecksum } from "./checksum_answers.ts";
import { notModified, rangeHolds } from "./conditions.ts";
import { readsSealed } from "./encryption.ts";
import { describe } from "./object_headers.ts";
import { partNumber } from "./part_number.ts";
import { type ByteRange, parseRange } from "./ranges.ts";
import { toldChecksum } from "./sealed_checksums.ts";
import { askedVersion, meantObject } from "./version_ids.ts";

function found(call: S3Call): ObjectRow {
  return meantObject(call, ownBucket(call), call.key, askedVersion(call.query));
}

/** What of the object is asked for: a range, one part, or all. */
function wantedRange(call: S3Call, object: ObjectRow): {
  readonly range: ByteRange | undefined;
  readonly parts: number | undefined;
  /** Which part is asked for. */
  readonly part?: number;
} {
  const asked = call.headers.get("range");
  if (!call.query.has("partNumber")) {
    const header = rangeHolds(call.headers, object) ? asked : null;
    return { range: parseRange(header, object.size), parts: undefined };
  }
  if (asked !== null) {
    throw new AwsError(
      "InvalidRequest",
      "Cannot specify both Range header and partNumber query parameter",
    );
  }
  const part = partNumber(call);
  const parts = object.meta.parts ?? [object.size];
  if (part > parts.length) {
    throw new DetailedError(
      "InvalidPartNumber",
      "The requested partnumber is not satisfiable",
      {
        status: 416,
        elements: {
          PartNumberRequested: String(part),
          ActualPartCount: String(parts.length),
        },
      },
    );
  }
  const from = parts.slice(0, part - 1).reduce((sum, size) => sum + size, 0);
  return {
    range: { from, to: from + (parts[part - 1] ?? 0) },
    parts: object.meta.parts === undefined ? undefined : parts.length,
    part,
  };
}

/** What is made of the parts' checksums says nothing of one of them, but its own does. */
function tellPartChecksum(call: S3Call, object: ObjectRow, part: number, headers: Headers): void {
  const { checksum, part_checksums } = object.meta;
  const value = part_checksums?.[part - 1];
  if (checksum?.type !== "COMPOSITE" || value === undefined || !asksChecksum(call.headers)) return;
  tellChecksum(headers, toldChecksum(call.headers, object.meta.seal, { ...checksum, value }));
}

function prepareRead(call: S3Call): {
  readonly object: ObjectRow;
  readonly status: number;
  readonly headers: Headers;
  readonly range: ByteRange;
  readonly customer_key: Bytes | undefined;
} {
  const object = found(call);
  const customer_key = readsSealed(call.headers, object.meta.seal);
  const headers = describe(call, object);
  if (notModified(call.headers, object)) {
    headers.delete("content-type");
    return { object, status: 304, headers, range: { from: 0, to: 0 }, customer_key };
  }
  const { range, parts, part } = wantedRange(call, object);
  if (parts !== undefined) headers.set("x-amz-mp-parts-count", String(parts));
  if (range === undefined) {
    headers.set("content-length", String(object.size));
    const whole = { from: 0, to: object.size };
    return { object, status: 200, headers, range: whole, customer_key };
  }
  headers.set("content-length", String(range.to - range.from));
  if (range.to > range.from) {
    headers.set("content-range", `bytes ${range.from}-${range.to - 1}/${object.size}`);
  }
  if (range.from > 0 || range.to < object.size) {
    // A checksum of the whole says nothing of a part.
    untellChecksum(headers);
  }
  if (part !== undefined) tellPartChecksum(call, object, part, headers);
  return { object, status: 206, headers, range, customer_key };
}

export function headObject(call: S3Call): Response {
  const { status, headers } = prepareRead(call);
  return new Response(null, { status, headers });
}

/**
 * How far behind the HTTP server may be with sending. While a piece of 512 KiB is made it has one that it has
 * not looked at, 64 KiB of the one before, and 470 KiB in itself; two pieces are made ahead of it. That is below
 * 2 MiB; `tests/predastore/stalling_reader_test.ts` tells where it is not.
 */
const unsent_bytes = 5 << 19;

/** The first bytes are read before the answer begins, so that what is lost is an error and no stub. */
export async function getObject(call: S3Call): Promise<Response> {
  const { object, status, headers, range, customer_key } = prepareRead(call);
  if (status === 304) return new Response(null, { status, headers });
  if (range.from === range.to) return new Response(new Uint8Array(0), { status, headers });
  const known = call.store.objects.inMemory(object);
  // The answer has a copy of it.
  if (known !== undefined) {
    return new Response(known.subarray(range.from, range.to), { status, headers });
  }
  const memory = reusedAfter(unsent_bytes);
  const { objects } = call.store;
  const pieces = objects.read(object, range.from, range.to, memory, customer_key);
  const first = await pieces.next();
  if (first.done === true) return new Response(new Uint8Array(0), { status, headers });
  if (first.value.length === range.to - range.from) {
    await pieces.return(undefined);
    return new Response(first.value, { status, headers });
  }
  const body = answerBody({
    first: first.value,
    pieces,
    failed: (error) => call.log.error("read_failed", { key: call.key, ...errorFields(error) }),
  });
  return new Response(body, { status, headers });
}
