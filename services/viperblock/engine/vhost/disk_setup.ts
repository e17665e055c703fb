/**
 * What the messages of a front end set up: the guest's memory, the queues in it, what its driver has agreed to, and the
 * memory that remembers what is in flight.
 *
 * A message that makes no sense is refused (`ProtocolBroken`), and what was set up before stands. A queue begins to be
 * served by the message that brings the last of what it takes, and ends when nothing of it is under way any more.
 */
import { closeFile, type Memory, unmap } from "../../../../ffi/libc.ts";
import {
  createPassable,
  isEvent,
  mapPassed,
  MemoryRefused,
} from "../../../../ffi/passed_memory.ts";
import type { RequestQueue } from "../../machine/machine.ts";
import type { Commands } from "../connection.ts";
import type { Export } from "../nbd_protocol.ts";
import type { Requests } from "../requests.ts";
import type { Slots } from "../slots.ts";
import type { Throttle } from "../throttle.ts";
import { BackChannel } from "./back_channel.ts";
import { BlockQueue } from "./block_queue.ts";
import { configBytes, diskConfig, writeCacheAt } from "./disk_config.ts";
import { GuestMemory } from "./guest_memory.ts";
import { inFlightBytes, InFlightMemory } from "./in_flight.ts";
import type { Kicks } from "./kicks.ts";
import {
  checkQueueSize,
  encode,
  encodeInFlight,
  feature,
  type Header,
  maximumQueues,
  message,
  offered,
  offeredHigh,
  pair,
  parseConfig,
  parseInFlight,
  parseMemory,
  parsePair,
  parseRing,
  parseRingAddresses,
  parseRingEvent,
  ProtocolBroken,
  protocolFeatures,
} from "./protocol.ts";
import { QueueSetup } from "./queue_setup.ts";
import { Segments } from "./segments.ts";

export interface DiskParts {
  readonly ring: RequestQueue;
  readonly requests: Requests;
  readonly slots: Slots;
  readonly commands: Commands;
  readonly throttle: Throttle;
  readonly served: Export;
  readonly say: (event: string, fields: Record<string, unknown>) => void;
}

export type Reply = { bytes: Uint8Array; fd?: number } | "later" | undefined;

export class DiskSetup {
  readonly #p: DiskParts;
  readonly #kicks: Kicks;
  readonly #channel: BackChannel;
  readonly #memory = new GuestMemory(unmap);
  readonly queues: readonly BlockQueue[];
  #setups: readonly QueueSetup[] = [];
  readonly #agreed = { indirect: false, eventIndex: false, durableWrites: false };
  #features = 0;
  #inFlight: InFlightMemory | undefined;
  /** The queue whose end the front end waits for. */
  #ending: number | undefined;
  #stopping = false;
  #passing = -1;

  /** @param channelAt where the channel's message lies in `control`, with `backChannelBytes` */
  constructor(
    parts: DiskParts,
    kicks: Kicks,
    control: Memory,
    channelAt: number,
    broke: (queue: number, why: string) => void,
  ) {
    this.#p = parts;
    this.#kicks = kicks;
    const isServing = () => !this.#stopping && this.queues.some(({ ring }) => ring.active);
    this.#channel = new BackChannel(parts.ring, control, channelAt, isServing);
    const memory = this.#memory;
    const segments = new Segments(memory);
    const agreed = this.#agreed;
    this.queues = Array.from(
      { length: maximumQueues },
      (_, number) => new BlockQueue(number, { ...parts, memory, segments, agreed, broke }),
    );
  }

  /** For a new front end. */
  begin(): void {
    this.#stopping = false;
    this.#setups = Array.from({ length: maximumQueues }, () => new QueueSetup(this.#kicks));
    this.#agree(0);
    this.#channel.sizeChanged();
    this.#ending = undefined;
  }

  /** No more of what waits in the rings is taken. */
  stop(): void {
    this.#stopping = true;
    for (const queue of this.queues) queue.stop();
    for (const setup of this.#setups) setup.unwatch();
  }

  /** Nothing of it is under way any more. */
  get stopped(): boolean {
    return this.queues.every((queue) => queue.stopped) && !this.#channel.busy;
  }

  /** When all is stopped. */
  end(): void {
    for (const [number, queue] of this.queues.entries()) {
      if (!queue.ring.active) continue;
      this.publish(number);
      queue.end();
    }
    this.#letGo();
    this.#memory.clear();
  }

  /** Lets go of it whatever is under way; the loop has ended. */
  abandon(): void {
    this.#letGo();
    this.#memory.abandon();
  }

  #letGo(): void {
    for (const setup of this.#setups) setup.close();
    this.#setups = [];
    this.#channel.close();
    this.#pass(-1);
    if (this.#inFlight !== undefined) unmap(this.#inFlight.memory);
    this.#inFlight = undefined;
  }

  /** The guest is shown what is done, and called. */
  publish(number: number): void {
    if ((this.queues[number] as BlockQueue).ring.publish()) this.#setups[number]?.call();
  }

  tellError(number: number): void {
    this.#setups[number]?.tellError();
  }

  sizeChanged(): void {
    this.#channel.sizeChanged();
  }

  /** The answer that the front end waits for, when nothing is under way any more of the queue that it takes back. */
  queueTakenBack(): Uint8Array | undefined {
    const number = this.#ending;
    if (number === undefined) return undefined;
    const queue = this.queues[number] as BlockQueue;
    if (!queue.stopped) return undefined;
    this.publish(number);
    const setup = this.#setup(number);
    if (queue.ring.active) setup.base = queue.end();
    this.#ending = undefined;
    return encode(message.getRingBase, pair(number, setup.base));
  }

  /** @throws ProtocolBroken */
  take(header: Header, payload: DataView, fds: number[]): Reply {
    try {
      return this.#answer(header.request, payload, fds);
    } catch (error) {
      if (error instanceof MemoryRefused) throw new ProtocolBroken(error.message);
      throw error;
    } finally {
      // Whoever keeps one has taken it out of the list.
      for (const fd of fds) closeFile(fd);
    }
  }

  #answer(request: number, payload: DataView, fds: number[]): Reply {
    switch (request) {
      case message.getFeatures:
        return { bytes: encode(request, pair(offered(this.#p.served) >>> 0, offeredHigh)) };
      case message.setFeatures:
        this.#agree(parsePair(payload).low & offered(this.#p.served));
        return undefined;
      case message.setOwner:
      case message.resetOwner:
        return undefined;
      case message.getProtocolFeatures:
        return { bytes: encode(request, pair(protocolFeatures)) };
      case message.setProtocolFeatures:
        parsePair(payload);
        return undefined;
      case message.getQueueCount:
        return { bytes: encode(request, pair(maximumQueues)) };
      case message.setMemory:
        this.#setMemory(payload, fds);
        return undefined;
      case message.setRingSize: {
        const { queue, value } = parseRing(payload);
        checkQueueSize(value);
        this.#idleSetup(queue).size = value;
        return undefined;
      }
      case message.setRingBase: {
        const { queue, value } = parseRing(payload);
        this.#idleSetup(queue).base = value & 0xffff;
        return undefined;
      }
      case message.setRingAddresses: {
        const addresses = parseRingAddresses(payload);
        this.#idleSetup(addresses.queue).addresses = addresses;
        return undefined;
      }
      case message.getRingBase:
        return this.#stopQueue(parseRing(payload).queue);
      case message.setRingKick:
      case message.setRingCall:
      case message.setRingError:
        this.#setEvent(request, payload, fds);
        return undefined;
      case message.setRingEnable: {
        const { queue, value } = parseRing(payload);
        const setup = this.#setup(queue);
        setup.enabled = value === 1;
        (this.queues[queue] as BlockQueue).paused = !setup.enabled;
        this.#startQueue(queue);
        return undefined;
      }
      case message.setBackendChannel:
        if (this.#channel.busy) throw new ProtocolBroken("another channel while one is used");
        this.#channel.set(fds.shift() ?? -1);
        return undefined;
      case message.getConfig: {
        const { offset, length } = parseConfig(payload);
        const bytes = new Uint8Array(12 + length);
        bytes.set(new Uint8Array(payload.buffer, payload.byteOffset, 12));
        bytes.set(this.#config().subarray(offset, offset + length), 12);
        return { bytes: encode(request, bytes) };
      }
      case message.setConfig:
        this.#setConfig(payload);
        return undefined;
      case message.getInFlight: {
        const asked = parseInFlight(payload);
        const length = inFlightBytes(asked.queues, asked.queueSize);
        const { fd, memory } = createPassable("viperblock-in-flight", length);
        // Nothing is written there until the front end says so.
        unmap(memory);
        this.#pass(fd);
        const answer = encodeInFlight({ ...asked, length, offset: 0 }, payload.byteLength);
        return { bytes: encode(request, answer), fd };
      }
      case message.setInFlight:
        this.#setInFlight(payload, fds);
        return undefined;
      default:
        throw new ProtocolBroken(`a message ${request} that was not agreed on`);
    }
  }

  /** A descriptor that goes out must be open until it has; that is so when the next one does. */
  #pass(fd: number): void {
    if (this.#passing >= 0) closeFile(this.#passing);
    this.#passing = fd;
  }

  #setup(queue: number): QueueSetup {
    return this.#setups[queue] as QueueSetup;
  }

  #idleSetup(queue: number): QueueSetup {
    if ((this.queues[queue] as BlockQueue).ring.active) {
      throw new ProtocolBroken("a queue that is set up while it is served");
    }
    return this.#setup(queue);
  }

  #agree(low: number): void {
    this.#features = low;
    this.#agreed.indirect = (low & feature.indirect) !== 0;
    this.#agreed.eventIndex = (low & feature.eventIndex) !== 0;
    this.#setDurability();
  }

  /** A driver that does not flush, or wants no cache, gets writes that are durable when answered. */
  #setDurability(): void {
    const hasCache = (this.#features & feature.flush) !== 0 &&
      !((this.#features & feature.writeCache) !== 0 && this.#inFlight?.writeThrough === true);
    this.#agreed.durableWrites = !hasCache;
  }

  #config(): Uint8Array {
    const bytes = new Uint8Array(256);
    const writeThrough = this.#inFlight?.writeThrough === true;
    bytes.set(diskConfig(this.#p.served.sizeBytes, !writeThrough).subarray(0, configBytes));
    return bytes;
  }

  #setConfig(payload: DataView): void {
    const { offset, length } = parseConfig(payload);
    if (offset > writeCacheAt || offset + length <= writeCacheAt) return;
    const wanted = payload.getUint8(12 + writeCacheAt - offset);
    if (this.#inFlight !== undefined) this.#inFlight.writeThrough = wanted === 0;
    this.#setDurability();
  }

  #setMemory(payload: DataView, fds: number[]): void {
    const asked = parseMemory(payload);
    if (fds.length !== asked.length) throw new ProtocolBroken("memory without its descriptors");
    const mapped: Memory[] = [];
    let kept = false;
    try {
      for (const [i, region] of asked.entries()) {
        mapped.push(mapPassed(fds[i] as number, region.length, region.offset));
      }
      kept = this.#memory.replace(asked, mapped);
    } finally {
      if (!kept) { for (const memory of mapped) unmap(memory); }
    }
    if (!kept) throw new ProtocolBroken("too many memory regions that are still in use");
    // Rings that are served lie in the new regions from now on.
    for (const [number, queue] of this.queues.entries()) {
      const { addresses, size } = this.#setup(number);
      if (!queue.ring.active || addresses === undefined) continue;
      if (!queue.ring.place(this.#memory, addresses, size)) {
        throw new ProtocolBroken("a ring outside the new memory");
      }
    }
  }

  #setEvent(request: number, payload: DataView, fds: number[]): void {
    const { queue, hasEvent } = parseRingEvent(payload);
    const fd = hasEvent ? fds.shift() ?? -1 : -1;
    if (hasEvent && (fd < 0 || !isEvent(fd))) {
      if (fd >= 0) closeFile(fd);
      throw new ProtocolBroken("an event that is none");
    }
    const setup = this.#setup(queue);
    if (request === message.setRingKick) {
      setup.setKick(fd);
      this.#startQueue(queue);
    } else if (request === message.setRingCall) setup.setCall(fd);
    else setup.setError(fd);
  }

  /** Serves the queue if all is there that it takes. What is in its ring needs no kick. */
  #startQueue(number: number): void {
    const setup = this.#setup(number);
    const queue = this.queues[number] as BlockQueue;
    if (queue.ring.active || !setup.enabled || !setup.hasKicks) return;
    if (setup.addresses === undefined || setup.size === 0) {
      throw new ProtocolBroken("a queue that is started without a ring");
    }
    if (!queue.stopped || !queue.ring.place(this.#memory, setup.addresses, setup.size)) {
      throw new ProtocolBroken("a ring outside the guest's memory");
    }
    queue.start(setup.base, this.#inFlight?.queue(number));
    this.#channel.tell();
    // An engine before may have ended between giving back and telling.
    setup.call();
  }

  #stopQueue(number: number): Reply {
    this.#setup(number).endKicks();
    (this.queues[number] as BlockQueue).stop();
    this.#ending = number;
    return "later";
  }

  #setInFlight(payload: DataView, fds: number[]): void {
    const asked = parseInFlight(payload);
    if (this.queues.some((queue) => queue.ring.active)) {
      throw new ProtocolBroken("requests in flight that are changed while queues are served");
    }
    const fd = fds[0];
    const least = inFlightBytes(asked.queues, asked.queueSize);
    if (fd === undefined || asked.offset !== 0 || asked.length < least) {
      throw new ProtocolBroken("requests in flight without their memory");
    }
    const memory = mapPassed(fd, least, 0);
    if (this.#inFlight !== undefined) unmap(this.#inFlight.memory);
    this.#inFlight = new InFlightMemory(memory, asked.queues, asked.queueSize);
    this.#setDurability();
  }
}
