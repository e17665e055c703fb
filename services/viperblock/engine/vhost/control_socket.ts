/**
 * A front end's connection: messages come in whole with the descriptors that they bring, replies go out,
 * one at a time and all through the ring.
 *
 * A header is received alone, so that its descriptors are known to be its own; the kernel never joins
 * what came with descriptors to what follows. Whoever gets a message owns its descriptors. A front end
 * that breaks the protocol loses the connection.
 */
import { closeFile, type Memory, shutdownSocket } from "../../../../ffi/libc.ts";
import { ringOperations } from "../../../../ffi/liburing.ts";
import type { RequestQueue } from "../../machine/machine.ts";
import {
  encode,
  type Header,
  headerBytes,
  maximumDescriptors,
  maximumPayload,
  pair,
  parseHeader,
  ProtocolBroken,
} from "./protocol.ts";

// Where things lie in the control memory. A msghdr has 56 bytes, an iovec 16.
const receiveMessageAt = 0;
const receiveVectorAt = 64;
const headerAt = 128;
const receiveControlAt = 256;
const receiveControlBytes = 256;
const payloadAt = 512;
const sendMessageAt = 1024;
const sendVectorAt = 1088;
const sendControlAt = 1152;
const sendAt = 1280;
export const controlSocketBytes = 2048;

const closeOnExec = 0x40000000;
const waitForAll = 0x100;
const noSignal = 0x4000;
const socketLevel = 1;
const rights = 1;

export interface ControlParts {
  readonly ring: RequestQueue;
  readonly kinds: { readonly header: number; readonly payload: number; readonly sent: number };
  readonly memory: Memory;
  /** A message; the answer goes out before the next one comes. Nothing means that it has none. */
  readonly take: (
    header: Header,
    payload: DataView,
    fds: number[],
  ) => { bytes: Uint8Array; fd?: number } | "later" | undefined;
  /** The front end is gone, or has to go. */
  readonly ended: (why: string) => void;
}

export class ControlSocket {
  readonly #p: ControlParts;
  readonly #words: Int32Array;
  readonly #view: DataView;
  fd = -1;
  #pending = false;
  #over = false;
  #got = 0;
  #fds: number[] = [];
  #header: Header | undefined;
  #sendLength = 0;

  constructor(parts: ControlParts) {
    this.#p = parts;
    this.#words = new Int32Array(parts.memory.buffer, 0, controlSocketBytes / 4);
    this.#view = new DataView(parts.memory.buffer);
  }

  /** The ring still has something of it. */
  get pending(): boolean {
    return this.#pending;
  }

  begin(fd: number): void {
    this.fd = fd;
    this.#over = false;
    this.#next();
  }

  /** What waits in the ring ends soon; `pending` tells when it has. */
  shutdown(): void {
    if (this.fd >= 0) shutdownSocket(this.fd);
    this.#over = true;
  }

  close(): void {
    if (this.fd >= 0) closeFile(this.fd);
    this.fd = -1;
    this.#dropDescriptors();
  }

  #dropDescriptors(): void {
    for (const fd of this.#fds.splice(0)) closeFile(fd);
  }

  #end(why: string): void {
    this.#dropDescriptors();
    if (this.#over) return;
    this.#over = true;
    this.#p.ended(why);
  }

  #next(): void {
    this.#got = 0;
    this.#header = undefined;
    this.#receiveHeader();
  }

  #address(word: number, at: number): void {
    const address = this.#p.memory.address + at;
    this.#words[word] = address | 0;
    this.#words[word + 1] = (address / 4294967296) | 0;
  }

  #message(messageAt: number, vectorAt: number, at: number, length: number): void {
    const words = this.#words;
    words.fill(0, messageAt / 4, messageAt / 4 + 14);
    this.#address(messageAt / 4 + 4, vectorAt);
    words[messageAt / 4 + 6] = 1;
    this.#address(vectorAt / 4, at);
    words[vectorAt / 4 + 2] = length;
    words[vectorAt / 4 + 3] = 0;
  }

  #receiveHeader(): void {
    this.#message(
      receiveMessageAt,
      receiveVectorAt,
      headerAt + this.#got,
      headerBytes - this.#got,
    );
    this.#address(receiveMessageAt / 4 + 8, receiveControlAt);
    this.#words[receiveMessageAt / 4 + 10] = receiveControlBytes;
    this.#queue(ringOperations.receiveMessage, receiveMessageAt, 1, closeOnExec, "header");
  }

  #queue(
    operation: number,
    at: number,
    length: number,
    flags: number,
    kind: "header" | "payload" | "sent",
  ): void {
    this.#pending = true;
    const { ring, kinds, memory } = this.#p;
    ring.queue(operation, this.fd, 0, memory.address + at, length, flags, kinds[kind], 0);
  }

  #takeDescriptors(): void {
    const words = this.#words;
    const end = receiveControlAt + (words[receiveMessageAt / 4 + 10] as number);
    for (let at = receiveControlAt; at + 16 <= end;) {
      const length = words[at / 4] as number;
      if (length < 16 || at + length > end) return;
      if (words[at / 4 + 2] === socketLevel && words[at / 4 + 3] === rights) {
        for (let i = 0; i < (length - 16) >> 2; i++) {
          this.#fds.push(words[at / 4 + 4 + i] as number);
        }
      }
      at += (length + 7) & ~7;
    }
  }

  headerReceived(result: number): void {
    this.#pending = false;
    if (result > 0) this.#takeDescriptors();
    if (this.#over || result <= 0) return this.#end("");
    if (this.#fds.length > maximumDescriptors) {
      return this.#end("more descriptors than any message");
    }
    this.#got += result;
    if (this.#got < headerBytes) return this.#receiveHeader();
    this.#guarded(() => {
      this.#header = parseHeader(new DataView(this.#p.memory.buffer, headerAt, headerBytes));
      this.#got = 0;
      if (this.#header.length === 0) this.#deliver();
      else this.#receivePayload();
    });
  }

  #receivePayload(): void {
    const length = Math.min(maximumPayload, this.#header?.length ?? 0) - this.#got;
    this.#queue(ringOperations.receive, payloadAt + this.#got, length, waitForAll, "payload");
  }

  payloadReceived(result: number): void {
    this.#pending = false;
    if (this.#over || result <= 0) return this.#end("");
    this.#got += result;
    if (this.#got < (this.#header?.length ?? 0)) return this.#receivePayload();
    this.#guarded(() => this.#deliver());
  }

  /** What a front end says may end its connection, and nothing else. */
  #guarded(work: () => void): void {
    try {
      work();
    } catch (error) {
      if (!(error instanceof ProtocolBroken)) throw error;
      this.#end(error.message);
    }
  }

  #deliver(): void {
    const header = this.#header as Header;
    const payload = new DataView(this.#p.memory.buffer, payloadAt, header.length);
    const fds = this.#fds;
    this.#fds = [];
    const reply = this.#p.take(header, payload, fds);
    if (reply === "later") return;
    if (reply !== undefined) this.send(reply.bytes, reply.fd);
    else if (header.needsReply) this.send(encode(header.request, pair(0)));
    else this.#next();
  }

  /** Sends the answer to the message that is being worked on; then the next one is waited for. */
  send(bytes: Uint8Array, fd = -1): void {
    this.#p.memory.bytes.set(bytes, sendAt);
    this.#message(sendMessageAt, sendVectorAt, sendAt, bytes.length);
    if (fd >= 0) {
      this.#address(sendMessageAt / 4 + 8, sendControlAt);
      this.#words[sendMessageAt / 4 + 10] = 24;
      this.#view.setUint32(sendControlAt, 20, true);
      this.#view.setUint32(sendControlAt + 4, 0, true);
      this.#view.setInt32(sendControlAt + 8, socketLevel, true);
      this.#view.setInt32(sendControlAt + 12, rights, true);
      this.#view.setInt32(sendControlAt + 16, fd, true);
    }
    this.#sendLength = bytes.length;
    this.#queue(ringOperations.sendMessage, sendMessageAt, 1, noSignal | waitForAll, "sent");
  }

  sent(result: number): void {
    this.#pending = false;
    if (this.#over || result !== this.#sendLength) return this.#end("");
    this.#next();
  }
}
