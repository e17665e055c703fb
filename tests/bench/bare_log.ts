/**
 * What a write costs any server that keeps it in a log, whatever it is written in: receive it from the socket, write as many
 * bytes to a file past the page cache, answer. Nothing is looked at, copied, checked or remembered, so what the client sends must be
 * writes of one block. The same ring and the same pipelined client as the engine's, in turn with it, show how much of the engine's
 * processor time the machine takes by itself. A process of its own; its arguments are the path of its socket and a written file.
 */
import {
  closeFile,
  enlargeSocketBuffers,
  listenUnix,
  mapMemory,
  openFile,
  openFlags,
} from "../../ffi/libc.ts";
import { Ring, ringOperations } from "../../ffi/liburing.ts";
import { hello, Negotiation } from "../../services/viperblock/engine/nbd_negotiation.ts";
import { nbdMagic } from "../../services/viperblock/engine/nbd_protocol.ts";
import { blockBytes } from "../../services/viperblock/format.ts";

const requestBytes = 28 + blockBytes;
const replyBytes = 16;
const mostRequests = 128;
/** As the engine calls its volume. */
const name = "vol-bare";
const noSignal = 0x4000;

export interface BareLog extends AsyncDisposable {
  readonly socket: string;
  readonly pid: number;
}

/** Starts one; waits until it listens. @param file as long as it may be written to, over and over */
export async function startBareLog(socket: string, file: string): Promise<BareLog> {
  const process = new Deno.Command(Deno.execPath(), {
    args: ["run", "-A", new URL(import.meta.url).pathname, socket, file],
    stdin: "null",
    stdout: "piped",
  }).spawn();
  const output = process.stdout.getReader();
  const { done } = await output.read();
  if (done) throw new Error("the bare log ended before it served");
  return {
    socket,
    pid: process.pid,
    async [Symbol.asyncDispose]() {
      process.kill("SIGKILL");
      await process.status;
      await output.cancel();
    },
  };
}

function serve(socket: string, path: string): void {
  const fileBytes = Deno.statSync(path).size;
  const ring = new Ring(64);
  const file = openFile(path, openFlags.readWrite | openFlags.direct);
  const input = mapMemory(mostRequests * requestBytes, { low: true, huge: true });
  const output = mapMemory((mostRequests + 1) * blockBytes, { low: true, huge: true });
  const answers = mapMemory(blockBytes, { low: true });
  const view = new DataView(answers.buffer);
  const listener = listenUnix(socket, 8);
  let client = -1;
  let negotiation: Negotiation | undefined;
  let received = 0;
  let position = 0;

  const accept = () => ring.queue(ringOperations.accept, listener, 0, 0, 0, 0, came, 0);
  const send = (length: number) =>
    ring.queue(ringOperations.send, client, 0, answers.address, length, noSignal, sent, 0);
  const receive = () =>
    ring.queue(
      ringOperations.receive,
      client,
      0,
      input.address + received,
      input.length - received,
      0,
      taken,
      0,
    );
  const came = ring.kind((_id, fd) => {
    if (fd < 0) throw new Error(`accept answered ${fd}`);
    client = fd;
    enlargeSocketBuffers(client, 4 << 20);
    negotiation = new Negotiation({ name, sizeBytes: fileBytes });
    received = 0;
    answers.bytes.set(hello());
    send(hello().length);
  });
  const sent = ring.kind(receive);
  const taken = ring.kind((_id, result) => {
    if (result <= 0) {
      closeFile(client);
      accept();
      return;
    }
    received += result;
    if (negotiation !== undefined) {
      negotiate(negotiation);
    } else if (received % requestBytes !== 0) receive();
    else {
      const length = (received / requestBytes + 1) * blockBytes;
      if (position + length > fileBytes) position = 0;
      ring.queue(ringOperations.write, file, position, output.address, length, 0, written, length);
      position += length;
    }
  });
  const negotiate = (with_: Negotiation) => {
    const { used, answers: said, next } = with_.feed(input.bytes.subarray(0, received));
    input.bytes.copyWithin(0, used, received);
    received -= used;
    if (next === "transmit") negotiation = undefined;
    let length = 0;
    for (const answer of said) {
      answers.bytes.set(answer, length);
      length += answer.length;
    }
    if (length > 0) send(length);
    else receive();
  };
  const written = ring.kind((length, result) => {
    if (result !== length) throw new Error(`a write of ${length} bytes answered ${result}`);
    const count = received / requestBytes;
    received = 0;
    for (let i = 0; i < count; i++) {
      view.setUint32(i * replyBytes, nbdMagic.reply);
      view.setUint32(i * replyBytes + 4, 0);
    }
    send(count * replyBytes);
  });
  accept();
  console.log("READY");
  for (;;) ring.turn(1);
}

if (import.meta.main) serve(Deno.args[0] ?? "", Deno.args[1] ?? "");
