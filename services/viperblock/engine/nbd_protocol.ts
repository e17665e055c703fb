/**
 * The NBD protocol's numbers after the negotiation, and what an export is. The names are those of the
 * protocol's own document; what a client may not know is not offered to it (`nbd_negotiation.ts`).
 */

export const nbdMagic = {
  hello: 0x4e42444d41474943n,
  option: 0x49484156454f5054n,
  optionReply: 0x3e889045565a9n,
  request: 0x25609513,
  reply: 0x67446698,
  structuredReply: 0x668e33ef,
} as const;

export const nbdCommand = {
  read: 0,
  write: 1,
  disconnect: 2,
  flush: 3,
  trim: 4,
  writeZeroes: 6,
  blockStatus: 7,
} as const;

export const nbdError = {
  notPermitted: 1,
  io: 5,
  invalid: 22,
  noSpace: 28,
  overflow: 75,
  notSupported: 95,
  shutdown: 108,
} as const;

export const commandFlag = {
  fua: 1,
  noHole: 2,
  dontFragment: 4,
  requestOne: 8,
  fastZero: 16,
} as const;

/** Kinds of the chunks of structured replies. */
export const chunkKind = {
  offsetData: 1,
  offsetHole: 2,
  blockStatus: 5,
  errorOffset: 0x8002,
} as const;
/** The chunk that ends its reply. */
export const chunkDone = 1;

/** The one metadata context: which parts are allocated. */
export const allocationContext = { name: "base:allocation", id: 1, holeAndZero: 3 } as const;

/** The longest read or write. */
export const maximumPayload = 32 << 20;

const exportFlag = { readOnly: 2, dontFragment: 128 } as const;
/** Flags, flush, FUA, trim, zeroes, several connections (one map and one log serve all), fast zeroes. */
const alwaysOffered = 1 | 4 | 8 | 32 | 64 | 256 | 2048;

export interface Export {
  readonly name: string;
  sizeBytes: number;
  /** Nothing may be written. */
  readonly readOnly?: boolean;
}

/** What the client is told that it may do. */
export function transmissionFlags(served: Export, structured: boolean): number {
  return alwaysOffered | (served.readOnly === true ? exportFlag.readOnly : 0) |
    (structured ? exportFlag.dontFragment : 0);
}
