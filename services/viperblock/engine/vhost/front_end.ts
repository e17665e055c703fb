/**
 * One front end (a guest's QEMU) and the disk that its guest sees: what its messages set up, and the
 * queues that are served from it.
 *
 * There is one at a time: the next one is served when nothing of the one before is under way any more, so
 * that a late answer can never reach memory that the guest has given to something else. A message that makes
 * no sense costs the front end its connection; a guest that breaks the rules of its rings, that queue.
 * When the connection ends what was not finished stays written down in the in-flight memory, and is done
 * again by whoever serves the guest next, in this process or another.
 */
import { closeFile, type Memory, signalEvent, unmap } from "../../../../ffi/libc.ts";
import { ringOperations } from "../../../../ffi/liburing.ts";
import {
  createPassable,
  isEvent,
  mapPassed,
  MemoryRefused,
  neverWait,
} from "../../../../ffi/passed_memory.ts";
import type { RequestQueue } from "../../machine/machine.ts";
import type { Commands } from "../connection.ts";
import type { Export } from "../nbd_protocol.ts";
import type { Requests } from "../requests.ts";
import type { Slots } from "../slots.ts";
import type { Throttle } from "../throttle.ts";
import { BlockQueue } from "./block_queue.ts";
import { ControlSocket, controlSocketBytes } from "./control_socket.ts";
import { configBytes, diskConfig, writeCacheAt } from "./disk_config.ts";
import { GuestMemory } from "./guest_memory.ts";
import { inFlightBytes, InFlightMemory } from "./in_flight.ts";
import { kickBytes, Kicks } from "./kicks.ts";
import {
  checkQueueSize,
  configChanged,
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
  type RingAddresses,
} from "./protocol.ts";
import { Segments } from "./segments.ts";

const kicksAt = controlSocketBytes;
const channelAt = kicksAt + kickBytes;
export const frontEndBytes = channelAt + 64;
/** MSG_DONTWAIT and MSG_NOSIGNAL. */
const tellFlags = 0x40 | 0x4000;

export interface FrontEndParts {
  readonly ring: RequestQueue;
  readonly requests: Requests;
  readonly slots: Slots;
  readonly commands: Commands;
  readonly throttle: Throttle;
  readonly served: Export;
  readonly say: (event: string, fields: Record<string, unknown>) => void;
}

/** What a front end has said of one queue. */
interface Setup {
  size: number;
  base: number;
  addresses: RingAddresses | undefined;
  kick: number;
  kickPlace: number;
  call: number;
  error: number;
  enabled: boolean;
}

const freshSetup = (): Setup => ({
  size: 0,
  base: 0,
  addresses: undefined,
  kick: -1,
  kickPlace: -1,
  call: -1,
  error: -1,
  enabled: false,
});

type Reply = { bytes: Uint8Array; fd?: number } | "later" | undefined;

export class FrontEnd {
  readonly #p: FrontEndParts;
  readonly #control: Memory;
  readonly #socket: ControlSocket;
  readonly #kicks: Kicks;
  readonly #channelKind: number;
  readonly #memory = new GuestMemory(unmap);
  readonly #queues: BlockQueue[];
  #setups: Setup[] = [];
  readonly #agreed = { indirect: false, eventIndex: false, durableWrites: false };
  #features = 0;
  #inFlight: InFlightMemory | undefined;
  #channel = -1;
  #channelBusy = false;
  #sizeToTell = false;
  /** The queue whose end the front end waits for. */
  #ending: number | undefined;
  #closing = false;
  #broken = 0;
  #passing = -1;

  constructor(parts: FrontEndParts, control: Memory) {
    this.#p = parts;
    this.#control = control;
    const { ring } = parts;
    this.#socket = new ControlSocket({
      ring,
      memory: control,
      kinds: {
        header: ring.kind((_id, result) => this.#socket.headerReceived(result)),
        payload: ring.kind((_id, result) => this.#socket.payloadReceived(result)),
        sent: ring.kind((_id, result) => this.#socket.sent(result)),
      },
      take: (header, payload, fds) => this.#take(header, payload, fds),
      ended: (why) => {
        if (why !== "") parts.say("front_end_refused", { reason: why });
        this.drop();
      },
    });
    this.#kicks = new Kicks(ring, control, kicksAt);
    this.#channelKind = ring.kind(() => {
      this.#channelBusy = false;
      this.#tellSize();
    });
    const segments = new Segments(this.#memory);
    this.#queues = Array.from(
      { length: maximumQueues },
      (_, number) =>
        new BlockQueue(number, {
          ...parts,
          memory: this.#memory,
          segments,
          agreed: this.#agreed,
          broke: (queue, why) => this.#broke(queue, why),
        }),
    );
  }

  get open(): boolean {
    return this.#socket.fd >= 0;
  }

  begin(fd: number): void {
    this.#closing = false;
    this.#setups = Array.from({ length: maximumQueues }, freshSetup);
    this.#agree(0);
    this.#sizeToTell = true;
    this.#broken = 0;
    this.#ending = undefined;
    this.#socket.begin(fd);
  }

  /** Ends it as soon as nothing of it is under way; what is finished by then is told. */
  drop(): void {
    if (!this.open || this.#closing) return;
    this.#closing = true;
    this.#socket.shutdown();
    for (const queue of this.#queues) queue.stop();
    for (const setup of this.#setups) this.#unwatch(setup);
  }

  #broke(queue: number, why: string): void {
    // A guest may break it again after each reset.
    if (this.#broken++ < 10) this.#p.say("guest_queue_broken", { queue, reason: why });
    const error = this.#setups[queue]?.error ?? -1;
    if (error >= 0) signalEvent(error);
  }

  // ---- the turn

  get stalled(): boolean {
    return this.#queues.some((queue) => queue.waits);
  }

  get throttled(): boolean {
    return this.#queues.some((queue) => queue.throttled);
  }

  /** Once each turn. */
  advance(full: boolean): void {
    if (!this.open) return;
    for (let i = 0; i < this.#queues.length; i++) {
      const queue = this.#queues[i] as BlockQueue;
      if (!queue.ring.active) continue;
      queue.advance(full);
      this.#publish(i);
    }
    if (this.#ending !== undefined) this.#endQueue();
    if (this.#closing) this.#close();
  }

  #publish(number: number): void {
    const { ring } = this.#queues[number] as BlockQueue;
    if (!ring.publish()) return;
    const call = (this.#setups[number] as Setup).call;
    if (call >= 0) signalEvent(call);
  }

  /** Asks for kicks; whether something is there already, or is to be published. */
  rest(): boolean {
    let more = false;
    for (let i = 0; i < this.#queues.length; i++) {
      const queue = this.#queues[i] as BlockQueue;
      if (!queue.ring.active) continue;
      if (queue.ring.unpublished) more = true;
      // What waits for room is not helped by more requests, and a broken ring by nothing.
      else if (queue.serving && !queue.stalled && queue.ring.listen()) more = true;
    }
    return more;
  }

  reply(id: number): void {
    (this.#queues[this.#p.requests.cookieB[id] as number] as BlockQueue).reply(id);
  }

  #endQueue(): void {
    const number = this.#ending as number;
    const queue = this.#queues[number] as BlockQueue;
    if (!queue.stopped) return;
    this.#publish(number);
    const setup = this.#setups[number] as Setup;
    if (queue.ring.active) setup.base = queue.end();
    this.#ending = undefined;
    if (this.#closing) return;
    this.#socket.send(encode(message.getRingBase, pair(number, setup.base)));
  }

  #close(): void {
    const over = this.#queues.every((queue) => queue.stopped) && !this.#socket.pending &&
      this.#kicks.idle && !this.#channelBusy;
    if (!over) return;
    for (let i = 0; i < this.#queues.length; i++) {
      const queue = this.#queues[i] as BlockQueue;
      if (!queue.ring.active) continue;
      this.#publish(i);
      queue.end();
    }
    this.#letGo();
    this.#memory.clear();
  }

  #letGo(): void {
    this.#socket.close();
    for (const setup of this.#setups) {
      for (const fd of [setup.kick, setup.call, setup.error]) if (fd >= 0) closeFile(fd);
    }
    this.#setups = [];
    if (this.#channel >= 0) closeFile(this.#channel);
    this.#channel = -1;
    this.#pass(-1);
    if (this.#inFlight !== undefined) unmap(this.#inFlight.memory);
    this.#inFlight = undefined;
  }

  /** Lets go of it whatever is under way; the loop has ended. */
  abandon(): void {
    if (!this.open) return;
    this.#socket.shutdown();
    this.#letGo();
    this.#memory.abandon();
  }

  // ---- the size

  resized(): void {
    if (!this.open) return;
    this.#sizeToTell = true;
    this.#tellSize();
  }

  /** The front end looks at the size when it is told to, and only while it serves its guest. */
  #tellSize(): void {
    if (!this.#sizeToTell || this.#channel < 0 || this.#channelBusy || this.#closing) return;
    if (!this.#queues.some((queue) => queue.ring.active)) return;
    this.#sizeToTell = false;
    this.#channelBusy = true;
    this.#control.bytes.set(encode(configChanged, new Uint8Array(0), false), channelAt);
    this.#p.ring.queue(
      ringOperations.send,
      this.#channel,
      0,
      this.#control.address + channelAt,
      12,
      tellFlags,
      this.#channelKind,
      0,
    );
  }

  // ---- messages

  #take(header: Header, payload: DataView, fds: number[]): Reply {
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
      case message.getRingBase: {
        return this.#stopQueue(parseRing(payload).queue);
      }
      case message.setRingKick:
      case message.setRingCall:
      case message.setRingError:
        this.#setEvent(request, payload, fds);
        return undefined;
      case message.setRingEnable: {
        const { queue, value } = parseRing(payload);
        const setup = this.#setup(queue);
        setup.enabled = value === 1;
        (this.#queues[queue] as BlockQueue).paused = !setup.enabled;
        this.#startQueue(queue);
        return undefined;
      }
      case message.setBackendChannel:
        if (this.#channelBusy) throw new ProtocolBroken("another channel while one is used");
        if (this.#channel >= 0) closeFile(this.#channel);
        this.#channel = fds.shift() ?? -1;
        this.#tellSize();
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

  #setup(queue: number): Setup {
    return this.#setups[queue] as Setup;
  }

  #idleSetup(queue: number): Setup {
    if ((this.#queues[queue] as BlockQueue).ring.active) {
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
    for (const [number, queue] of this.#queues.entries()) {
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
      if (fd < 0) throw new ProtocolBroken("a queue without kicks");
      this.#unwatch(setup);
      if (setup.kick >= 0) closeFile(setup.kick);
      setup.kick = fd;
      setup.kickPlace = this.#kicks.watch(fd);
      if (setup.kickPlace < 0) throw new ProtocolBroken("kicks that are changed without end");
      this.#startQueue(queue);
      return;
    }
    if (fd >= 0) neverWait(fd);
    const name = request === message.setRingCall ? "call" : "error";
    if (setup[name] >= 0) closeFile(setup[name]);
    setup[name] = fd;
    // The call before may have gone to nobody; one too many does no harm.
    if (name === "call" && fd >= 0) signalEvent(fd);
  }

  #unwatch(setup: Setup): void {
    this.#kicks.unwatch(setup.kickPlace);
    setup.kickPlace = -1;
  }

  /** Serves the queue if all is there that it takes. What is in its ring needs no kick. */
  #startQueue(number: number): void {
    const setup = this.#setup(number);
    const queue = this.#queues[number] as BlockQueue;
    if (queue.ring.active || !setup.enabled || setup.kick < 0) return;
    if (setup.addresses === undefined || setup.size === 0) {
      throw new ProtocolBroken("a queue that is started without a ring");
    }
    if (!queue.stopped || !queue.ring.place(this.#memory, setup.addresses, setup.size)) {
      throw new ProtocolBroken("a ring outside the guest's memory");
    }
    queue.start(setup.base, this.#inFlight?.queue(number));
    this.#tellSize();
    // An engine before may have ended between giving back and telling.
    if (setup.call >= 0) signalEvent(setup.call);
  }

  #stopQueue(number: number): Reply {
    const setup = this.#setup(number);
    const queue = this.#queues[number] as BlockQueue;
    this.#unwatch(setup);
    if (setup.kick >= 0) closeFile(setup.kick);
    setup.kick = -1;
    queue.stop();
    this.#ending = number;
    return "later";
  }

  #setInFlight(payload: DataView, fds: number[]): void {
    const asked = parseInFlight(payload);
    if (this.#queues.some((queue) => queue.ring.active)) {
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
