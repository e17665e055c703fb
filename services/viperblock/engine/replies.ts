/**
 * What goes out to one NBD client: the answers of the negotiation, then replies to its requests.
 *
 * One send is under way at a time. All that is ready when it begins leaves in it, headers and data by
 * reference. A request keeps its number, and its slot or what is held for it, until the send that carries its reply is over, since
 * the kernel reads from there. A send that fails or is cut short is told to the connection, which ends.
 */
import { mapMemory, type Memory, unmap } from "../../../ffi/libc.ts";
import { ringOperations } from "../../../ffi/liburing.ts";
import type { RequestQueue } from "../machine/machine.ts";
import { blockBytes, hole } from "../format.ts";
import { chunkDone, chunkKind, commandFlag, nbdCommand, nbdMagic } from "./nbd_protocol.ts";
import { requestCapacity, type Requests } from "./requests.ts";
import type { Slots } from "./slots.ts";
import {
  type ChunkSink,
  chunksOf,
  longestHeaderBytes,
  writeError,
  writeRead,
  writeStatus,
} from "./structured_replies.ts";

const repliesPerSend = 480;
/** The kernel takes no more (IOV_MAX). */
const vectorsPerSend = 1024;
const bytesPerSend = 8 << 20;
const replyHeaderBytes = 16;
const messageHeaderAt = 0;
const vectorAt = 4096;
const headersAt = vectorAt + vectorsPerSend * 16;
const headersBytes = 64 << 10;
const negotiationAt = headersAt + headersBytes;
const negotiationBytes = 16 << 10;
const controlBytes = negotiationAt + negotiationBytes;
/** MSG_NOSIGNAL, and MSG_WAITALL so that the kernel goes on after a short send. */
const sendFlags = 0x4000 | 0x100;

export class Replies implements ChunkSink {
  readonly #ring: RequestQueue;
  readonly #kind: number;
  readonly #number: number;
  readonly #requests: Requests;
  readonly #slots: Slots;
  readonly #letGo: (held: number) => void;
  readonly #control: Memory;
  readonly #controlWords: Int32Array;
  readonly view: DataView;
  readonly bytes: Uint8Array;
  readonly #outgoing = new Int32Array(requestCapacity);
  readonly #batch = new Int32Array(repliesPerSend);
  #answers: Uint8Array[] = [];
  #sending = false;
  #sendBytes = 0;
  #batchCount = 0;
  // The message that is being put together: its last vector, its headers' end, its length.
  #vector = 0;
  #headersEnd = 0;
  #afterHeader = false;
  #total = 0;
  /** Where the data of the reply that is being added begins. */
  #dataAddress = 0;
  /** Reads are answered in chunks, as the client has asked for. */
  structured = false;
  #head = 0;
  #tail = 0;
  /** Requests that were taken and whose replies have not gone out. */
  inFlight = 0;

  /** @param letGo gives back what a request holds */
  constructor(
    ring: RequestQueue,
    kind: number,
    number: number,
    requests: Requests,
    slots: Slots,
    letGo: (held: number) => void,
  ) {
    this.#ring = ring;
    this.#kind = kind;
    this.#number = number;
    this.#requests = requests;
    this.#slots = slots;
    this.#letGo = letGo;
    this.#control = mapMemory(controlBytes);
    this.#controlWords = new Int32Array(this.#control.buffer);
    this.view = new DataView(this.#control.buffer);
    this.bytes = this.#control.bytes;
  }

  /** A send is under way. */
  get sending(): boolean {
    return this.#sending;
  }

  /** Replies wait. */
  get waiting(): boolean {
    return this.#head !== this.#tail;
  }

  /** Starts with a client that is greeted with `answer`. */
  begin(answer: Uint8Array): void {
    this.#answers = [answer];
    this.#head = this.#tail = 0;
    this.inFlight = 0;
    this.structured = false;
  }

  /** Gives its buffers back; it is not used again. */
  unmap(): void {
    unmap(this.#control);
  }

  /** Answers of the negotiation; returns false when more wait than a client may leave unread. */
  answer(answers: readonly Uint8Array[]): boolean {
    this.#answers.push(...answers);
    return this.#answers.reduce((sum, each) => sum + each.length, 0) <= negotiationBytes;
  }

  /** The request is done; its error, and for a read its slot, are set. */
  add(id: number): void {
    this.#outgoing[this.#tail & (requestCapacity - 1)] = id;
    this.#tail = (this.#tail + 1) | 0;
  }

  discard(): void {
    while (this.#head !== this.#tail) {
      this.#release(this.#outgoing[this.#head & (requestCapacity - 1)] as number);
      this.#head = (this.#head + 1) | 0;
    }
  }

  #release(id: number): void {
    const slot = this.#requests.slot[id] as number;
    if (slot >= 0) this.#slots.free(slot);
    const held = this.#requests.held[id] as number;
    if (held >= 0) this.#letGo(held);
    this.#requests.free(id);
    this.inFlight--;
  }

  /** Sends what is ready, unless a send is under way. */
  send(fd: number): void {
    if (this.#sending) return;
    if (this.#answers.length > 0) {
      this.#sendAnswers(fd);
      return;
    }
    if (this.#head === this.#tail) return;
    this.#vector = (vectorAt >> 2) - 4;
    this.#headersEnd = headersAt;
    this.#afterHeader = false;
    this.#total = 0;
    let count = 0;
    while (this.#head !== this.#tail && count < repliesPerSend && this.#total < bytesPerSend) {
      const id = this.#outgoing[this.#head & (requestCapacity - 1)] as number;
      if (this.structured && !this.#hasRoom(id)) break;
      this.#head = (this.#head + 1) | 0;
      this.#batch[count++] = id;
      this.#addReply(id);
    }
    this.#batchCount = count;
    const vectors = ((this.#vector - (vectorAt >> 2)) >> 2) + 1;
    this.#sendMessage(fd, vectors, this.#total);
  }

  /** Whether the longest answer that this request may have fits into the message. */
  #hasRoom(id: number): boolean {
    const chunks = this.#requests.type[id] === nbdCommand.read
      ? chunksOf(this.#requests.length[id] as number)
      : 1;
    const vectors = ((this.#vector - (vectorAt >> 2)) >> 2) + 1;
    const headers = chunks * 32 + longestHeaderBytes;
    return vectors + 2 * chunks <= vectorsPerSend &&
      this.#headersEnd + headers <= headersAt + headersBytes;
  }

  #addReply(id: number): void {
    const requests = this.#requests;
    const type = requests.type[id] as number;
    const error = requests.error[id] as number;
    const slot = requests.slot[id] as number;
    const length = requests.length[id] as number;
    const offset = requests.offset[id] as number;
    const isHeld = (requests.held[id] as number) >= 0;
    if (isHeld) this.#dataAddress = requests.address[id] as number;
    else if (slot >= 0) {
      this.#dataAddress = this.#slots.memory.address + (this.#slots.start[slot] as number);
    }
    if (this.structured && type === nbdCommand.read && error === 0 && chunksOf(length) === 1) {
      this.#addShortRead(id, slot, offset, length);
      return;
    }
    if (this.structured && (type === nbdCommand.read || type === nbdCommand.blockStatus)) {
      const cookieA = requests.cookieA[id] as number;
      const cookieB = requests.cookieB[id] as number;
      if (error !== 0) {
        const failedAt = (requests.failedBlock[id] as number) * blockBytes;
        writeError(this, { cookieA, cookieB }, error, Math.max(offset, failedAt));
      } else if (type === nbdCommand.blockStatus) {
        writeStatus(this, { cookieA, cookieB }, length);
      } else {
        writeRead(this, {
          cookieA,
          cookieB,
          offset,
          length,
          container: this.#slots.container,
          column: this.#slots.firstBlock[slot] as number,
          whole: ((requests.flags[id] as number) & commandFlag.dontFragment) !== 0,
        });
      }
      return;
    }
    const header = this.header(replyHeaderBytes);
    this.view.setUint32(header, nbdMagic.reply);
    this.view.setUint32(header + 4, error);
    this.view.setInt32(header + 8, requests.cookieA[id] as number, true);
    this.view.setInt32(header + 12, requests.cookieB[id] as number, true);
    if ((slot >= 0 || isHeld) && error === 0) this.data(offset % blockBytes, length);
  }

  /** A read that is one chunk, as nearly all are: nothing is allocated for it. */
  #addShortRead(id: number, slot: number, offset: number, length: number): void {
    const { container, firstBlock } = this.#slots;
    const column = firstBlock[slot] as number;
    const skip = offset % blockBytes;
    // What is held is no hole.
    let isHole = slot >= 0;
    for (let i = 0; isHole && i * blockBytes < skip + length; i++) {
      isHole = container[column + i] === hole;
    }
    const { view } = this;
    const at = this.header(isHole ? 32 : 28);
    view.setUint32(at, nbdMagic.structuredReply);
    view.setUint16(at + 4, chunkDone);
    view.setUint16(at + 6, isHole ? chunkKind.offsetHole : chunkKind.offsetData);
    view.setInt32(at + 8, this.#requests.cookieA[id] as number, true);
    view.setInt32(at + 12, this.#requests.cookieB[id] as number, true);
    view.setUint32(at + 16, isHole ? 12 : 8 + length);
    view.setUint32(at + 20, Math.floor(offset / 4294967296));
    view.setUint32(at + 24, offset >>> 0);
    if (isHole) view.setUint32(at + 28, length);
    else this.data(skip, length);
  }

  /** Room for a header of the message; headers that follow each other share a vector. */
  header(length: number): number {
    const at = this.#headersEnd;
    if (this.#afterHeader) {
      const word = this.#vector + 2;
      this.#controlWords[word] = (this.#controlWords[word] as number) + length;
    } else {
      this.#vector += 4;
      this.#setVector(this.#vector, this.#control.address + at, length);
      this.#afterHeader = true;
    }
    this.#headersEnd = at + length;
    this.#total += length;
    return at;
  }

  /** Bytes of the slot, or of what is held, follow in the message. */
  data(skip: number, length: number): void {
    this.#vector += 4;
    this.#setVector(this.#vector, this.#dataAddress + skip, length);
    this.#afterHeader = false;
    this.#total += length;
  }

  #setVector(word: number, address: number, length: number): void {
    const words = this.#controlWords;
    words[word] = address | 0;
    words[word + 1] = (address / 4294967296) | 0;
    words[word + 2] = length;
    words[word + 3] = 0;
  }

  #sendMessage(fd: number, vectors: number, total: number): void {
    // struct msghdr: name, its length, vector, count, control, its length, flags.
    const words = this.#controlWords;
    const vector = this.#control.address + vectorAt;
    words.fill(0, messageHeaderAt, 16);
    words[4] = vector | 0;
    words[5] = (vector / 4294967296) | 0;
    words[6] = vectors;
    this.#sendBytes = total;
    this.#sending = true;
    this.#ring.queue(
      ringOperations.sendMessage,
      fd,
      0,
      this.#control.address,
      1,
      sendFlags,
      this.#kind,
      this.#number,
    );
  }

  #sendAnswers(fd: number): void {
    let length = 0;
    for (const answer of this.#answers) {
      if (length + answer.length > negotiationBytes) break;
      this.#control.bytes.set(answer, negotiationAt + length);
      length += answer.length;
    }
    this.#answers = [];
    this.#batchCount = 0;
    this.#setVector(vectorAt >> 2, this.#control.address + negotiationAt, length);
    this.#sendMessage(fd, 1, length);
  }

  /** A send is over; returns whether all of it went out. */
  sent(result: number): boolean {
    this.#sending = false;
    for (let i = 0; i < this.#batchCount; i++) this.#release(this.#batch[i] as number);
    this.#batchCount = 0;
    return result === this.#sendBytes;
  }
}
