/**
 * vhost-user's numbers and the shapes of its messages, as functions of bytes alone: nothing here touches
 * a socket or a guest's memory, so that it can be fuzzed. Every length is checked before it is
 * believed; what is wrong is a `ProtocolBroken`, and costs the front end its connection.
 */

export const message = {
  getFeatures: 1,
  setFeatures: 2,
  setOwner: 3,
  resetOwner: 4,
  setMemory: 5,
  setRingSize: 8,
  setRingAddresses: 9,
  setRingBase: 10,
  getRingBase: 11,
  setRingKick: 12,
  setRingCall: 13,
  setRingError: 14,
  getProtocolFeatures: 15,
  setProtocolFeatures: 16,
  getQueueCount: 17,
  setRingEnable: 18,
  setBackendChannel: 21,
  getConfig: 24,
  setConfig: 25,
  getInFlight: 31,
  setInFlight: 32,
} as const;

/** What the back end says by itself: read the configuration again. */
export const configChanged = 2;

/** Feature bits 0 to 31, and from 32 on. */
export const feature = {
  segmentLimit: 1 << 2,
  readOnly: 1 << 5,
  blockSize: 1 << 6,
  flush: 1 << 9,
  topology: 1 << 10,
  writeCache: 1 << 11,
  manyQueues: 1 << 12,
  discard: 1 << 13,
  writeZeroes: 1 << 14,
  indirect: 1 << 28,
  eventIndex: 1 << 29,
  protocol: 1 << 30,
} as const;
const offeredLow = feature.segmentLimit | feature.blockSize | feature.flush |
  feature.topology | feature.writeCache | feature.manyQueues | feature.discard |
  feature.writeZeroes | feature.indirect | feature.eventIndex | feature.protocol;
/** What a driver is told that it may use, bits 0 to 31. */
export const offered = (served: { readonly readOnly?: boolean }) =>
  offeredLow | (served.readOnly === true ? feature.readOnly : 0);
/** VIRTIO_F_VERSION_1. */
export const offeredHigh = 1;

/** Several queues, replies on wish, a channel of our own, configuration, requests in flight. */
export const protocolFeatures = 1 << 0 | 1 << 3 | 1 << 5 | 1 << 9 | 1 << 12;

export const headerBytes = 12;
/** The longest payload that is read at all: eight regions of memory are 264 bytes. */
export const maximumPayload = 512;
export const maximumQueues = 8;
export const maximumQueueSize = 1024;
const maximumRegions = 8;
/** More descriptors than any message carries. */
export const maximumDescriptors = 8;

const version = 1;
const replyFlag = 1 << 2;
const needsReply = 1 << 3;

/** The front end does not keep to the protocol. */
export class ProtocolBroken extends Error {
  override readonly name = "ProtocolBroken";
}

export interface Header {
  readonly request: number;
  readonly needsReply: boolean;
  readonly length: number;
}

export function parseHeader(view: DataView): Header {
  const request = view.getUint32(0, true);
  const flags = view.getUint32(4, true);
  const length = view.getUint32(8, true);
  if ((flags & 3) !== version) throw new ProtocolBroken(`version ${flags & 3} of vhost-user`);
  if ((flags & replyFlag) !== 0) throw new ProtocolBroken("a reply where a request should be");
  if (length > maximumPayload) throw new ProtocolBroken(`a payload of ${length} bytes`);
  return { request, needsReply: (flags & needsReply) !== 0, length };
}

/** A message with its header. @param isReply false for what the back end says by itself */
export function encode(request: number, payload: Uint8Array, isReply = true): Uint8Array {
  const bytes = new Uint8Array(headerBytes + payload.length);
  const view = new DataView(bytes.buffer);
  view.setUint32(0, request, true);
  view.setUint32(4, version | (isReply ? replyFlag : 0), true);
  view.setUint32(8, payload.length, true);
  bytes.set(payload, headerBytes);
  return bytes;
}

/** Two halves of a 64-bit number. */
export function pair(low: number, high = 0): Uint8Array {
  return new Uint8Array(new Uint32Array([low, high]).buffer);
}

function exactly(payload: DataView, length: number): void {
  if (payload.byteLength !== length) {
    throw new ProtocolBroken(`a payload of ${payload.byteLength} bytes, not ${length}`);
  }
}

/** A 64-bit number that is exact as a Number. */
function natural(payload: DataView, at: number): number {
  const high = payload.getUint32(at + 4, true);
  if (high >= 1 << 20) throw new ProtocolBroken("an address or size beyond 2^52");
  return high * 4294967296 + payload.getUint32(at, true);
}

export function parsePair(payload: DataView): { low: number; high: number } {
  exactly(payload, 8);
  return { low: payload.getUint32(0, true), high: payload.getUint32(4, true) };
}

/** A queue's number and a value. */
export function parseRing(payload: DataView): { queue: number; value: number } {
  exactly(payload, 8);
  const queue = payload.getUint32(0, true);
  if (queue >= maximumQueues) throw new ProtocolBroken(`queue ${queue}`);
  return { queue, value: payload.getUint32(4, true) };
}

/** A queue's number; whether a descriptor comes with it is for the caller to see. */
export function parseRingEvent(payload: DataView): { queue: number; hasEvent: boolean } {
  exactly(payload, 8);
  const word = payload.getUint32(0, true);
  const queue = word & 0xff;
  if (queue >= maximumQueues) throw new ProtocolBroken(`queue ${queue}`);
  return { queue, hasEvent: (word & 0x100) === 0 };
}

export interface RingAddresses {
  readonly queue: number;
  readonly descriptors: number;
  readonly used: number;
  readonly available: number;
}

export function parseRingAddresses(payload: DataView): RingAddresses {
  exactly(payload, 40);
  const queue = payload.getUint32(0, true);
  if (queue >= maximumQueues) throw new ProtocolBroken(`queue ${queue}`);
  return {
    queue,
    descriptors: natural(payload, 8),
    used: natural(payload, 16),
    available: natural(payload, 24),
  };
}

export interface RegionAsked {
  /** Where the guest has it, and where the front end. */
  readonly guest: number;
  readonly user: number;
  readonly length: number;
  /** In the file that is passed. */
  readonly offset: number;
}

export function parseMemory(payload: DataView): RegionAsked[] {
  if (payload.byteLength < 8) throw new ProtocolBroken("a table of memory without a head");
  const count = payload.getUint32(0, true);
  if (count === 0 || count > maximumRegions) throw new ProtocolBroken(`${count} memory regions`);
  // QEMU sends what it has; the table may be longer than what is in it.
  if (payload.byteLength < 8 + count * 32) throw new ProtocolBroken("a table of memory cut short");
  const regions: RegionAsked[] = [];
  for (let i = 0; i < count; i++) {
    const at = 8 + i * 32;
    const region = {
      guest: natural(payload, at),
      length: natural(payload, at + 8),
      user: natural(payload, at + 16),
      offset: natural(payload, at + 24),
    };
    if (region.length === 0 || region.guest % 4096 !== 0 || region.offset % 4096 !== 0) {
      throw new ProtocolBroken("a memory region that is empty or not made of pages");
    }
    regions.push(region);
  }
  return regions;
}

export function parseConfig(payload: DataView): { offset: number; length: number } {
  if (payload.byteLength < 12) throw new ProtocolBroken("a configuration without a head");
  const offset = payload.getUint32(0, true);
  const length = payload.getUint32(4, true);
  if (length > 256 || payload.byteLength !== 12 + length || offset > 256 - length) {
    throw new ProtocolBroken(`${length} bytes of configuration at ${offset}`);
  }
  return { offset, length };
}

export interface InFlightAsked {
  readonly length: number;
  readonly offset: number;
  readonly queues: number;
  readonly queueSize: number;
}

export function parseInFlight(payload: DataView): InFlightAsked {
  // The C struct is padded to eight bytes; some front ends send it without.
  if (payload.byteLength < 20) throw new ProtocolBroken("requests in flight cut short");
  const asked = {
    length: natural(payload, 0),
    offset: natural(payload, 8),
    queues: payload.getUint16(16, true),
    queueSize: payload.getUint16(18, true),
  };
  if (asked.queues === 0 || asked.queues > maximumQueues) {
    throw new ProtocolBroken(`${asked.queues} queues with requests in flight`);
  }
  checkQueueSize(asked.queueSize);
  return asked;
}

export function encodeInFlight(answer: InFlightAsked, length: number): Uint8Array {
  const bytes = new Uint8Array(length);
  const view = new DataView(bytes.buffer);
  view.setUint32(0, answer.length, true);
  view.setUint32(8, answer.offset, true);
  view.setUint16(16, answer.queues, true);
  view.setUint16(18, answer.queueSize, true);
  return bytes;
}

/** @throws ProtocolBroken unless it is a power of two that is not too large */
export function checkQueueSize(size: number): void {
  if (size === 0 || size > maximumQueueSize || (size & (size - 1)) !== 0) {
    throw new ProtocolBroken(`a queue of ${size}`);
  }
}
