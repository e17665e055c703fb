/**
 * The thread of one mounted volume. It is told once what to serve, then blocks in the volume's loop
 * until that ends; from then on the thread is gone. Whatever it throws is reported to the main thread,
 * which decides whether to start another.
 */
import { mapMemory, viewAddress } from "../../../ffi/libc.ts";
import { ringOperations } from "../../../ffi/liburing.ts";
import { errorFields } from "../../log/log.ts";
import { VolumeKey } from "../encryption/volume_key.ts";
import { chunkBytes, DamagedData, UnreadableData } from "../format.ts";
import { linuxMachine } from "../machine/linux.ts";
import { type FromWorker, Mailbox, type WorkerInit } from "../mounts/mailbox.ts";
import { Clients } from "./clients.ts";
import { DamagedVolume } from "./damaged_volume.ts";
import type { Door } from "./door.ts";
import { Doors } from "./doors.ts";
import { LogFailed } from "./durability.ts";
import { windowBytes } from "./fetcher.ts";
import { ringConnection } from "./vhost/block_queue.ts";
import { VhostDoor } from "./vhost/vhost_door.ts";
import { Volume } from "./volume.ts";
import type { Inside, VolumeOptions } from "./volume_options.ts";

interface WorkerScope {
  postMessage(message: FromWorker): void;
  close(): void;
  onmessage: ((event: MessageEvent<WorkerInit>) => void) | null;
}

const scope = globalThis as unknown as WorkerScope;
/** Somebody has been served. */
let isServed = false;

/** Serves until told to stop or unmount. */
function serve(init: WorkerInit): void {
  const machine = linuxMachine(init.directory);
  const { ring } = machine;
  const { windows, chunk, piece, pieceBytes } = init.transfer;
  const { key, rescue, ...rest } = init;
  const options: VolumeOptions = {
    ...rest,
    ...(key === undefined ? {} : { key: new VolumeKey(key) }),
    transfer: {
      windows: windows.map((address) => viewAddress(address, windowBytes)),
      chunk: viewAddress(chunk, chunkBytes),
      piece: viewAddress(piece, pieceBytes),
    },
  };
  const post = (message: FromWorker) => {
    isServed ||= message.kind === "ready";
    scope.postMessage(message);
  };
  const openDoor = (inside: Inside): Door => {
    const served = () => ({
      name: init.volumeId,
      sizeBytes: init.sizeBytes,
      ...(rescue === undefined ? {} : { readOnly: true }),
    });
    const clients = new Clients({ ring, ...inside, served: served(), socket: init.socket });
    if (init.vhostSocket === undefined) return clients;
    const guests = new VhostDoor({
      ring,
      ...inside,
      served: served(),
      socket: init.vhostSocket,
      say: (event, fields) => post({ kind: "log", level: "warn", event, fields }),
    });
    const { connection } = inside.requests;
    return new Doors(
      [clients, guests],
      (id) => (connection[id] as number) < ringConnection ? clients : guests,
    );
  };
  let volume: Volume | DamagedVolume;
  try {
    volume = rescue === undefined
      ? new Volume(options, machine, post, openDoor)
      : new DamagedVolume(options, rescue, machine, post, openDoor);
  } catch (error) {
    // Another is tried in the same process, maybe again and again.
    ring.close();
    throw error;
  }
  const mailbox = new Mailbox(init.mailbox, init.eventFd);
  const count = mapMemory(4096);
  const mail = ring.kind((_id, result) => {
    if (result < 0) throw new Error(`the mailbox cannot be read: ${result}`);
    wait();
    for (const message of mailbox.receive()) volume.deliver(message);
  });
  const wait = () => ring.queue(ringOperations.read, init.eventFd, 0, count.address, 8, 0, mail, 0);
  try {
    wait();
    while (!volume.finished) volume.turn();
  } finally {
    volume.close();
  }
  // Only the mailbox is still waited for; after a failure memory stays mapped.
  volume.release();
  post({ kind: "gone" });
}

/** A log in which not even the first batch can be written is no better than one that cannot be read. */
const told = (error: unknown) =>
  error instanceof LogFailed && !isServed
    ? new UnreadableData(`the log takes no writes: ${error.message}`, { cause: error })
    : error;

scope.onmessage = (event) => {
  try {
    serve(event.data);
  } catch (thrown) {
    const error = told(thrown);
    const { error: text, stack } = errorFields(error);
    scope.postMessage({
      kind: "failed",
      error: `${text}\n${stack ?? ""}`,
      damaged: error instanceof DamagedData,
      mayPass: error instanceof UnreadableData,
    });
  }
  scope.close();
};
