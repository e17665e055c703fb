/** The Range header as S3 takes it: one range of bytes; what is malformed is as if it were not there. */
import { AwsError } from "../../aws/errors.ts";

export interface ByteRange {
  readonly from: number;
  /** Exclusive. */
  readonly to: number;
}

/** @throws AwsError `InvalidRange` (416) when nothing of the object is in it */
export function parseRange(header: string | null, size: number): ByteRange | undefined {
  const match = /^bytes=(\d*)-(\d*)$/.exec(header?.trim() ?? "");
  if (match === null) return undefined;
  const unsatisfiable = () => new RangeNotSatisfiable(size, header?.trim() ?? "");
  const [, first = "", last = ""] = match;
  if (first === "" && last === "") return undefined;
  let from: number;
  let to: number;
  if (first === "") {
    const count = Number(last);
    if (count === 0) throw unsatisfiable();
    from = Math.max(0, size - count);
    to = size;
  } else {
    from = Number(first);
    to = last === "" ? size : Math.min(size, Number(last) + 1);
    if (last !== "" && Number(last) < from) return undefined;
  }
  if (from >= size) throw unsatisfiable();
  return { from, to };
}

export class RangeNotSatisfiable extends AwsError {
  constructor(readonly size: number, readonly asked: string) {
    super("InvalidRange", "The requested range is not satisfiable", { status: 416 });
  }
}
