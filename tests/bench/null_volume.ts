/**
 * The NBD door before a volume that does nothing: requests are taken from the socket and answered at once, nothing is
 * kept. Whoever drives it finds the client's own limit, which no server can pass. A process of its own, as the engine
 * is; its arguments are the path of its socket and its size.
 */
import { Clients } from "../../services/viperblock/engine/clients.ts";
import type { Commands } from "../../services/viperblock/engine/connection.ts";
import { Requests } from "../../services/viperblock/engine/requests.ts";
import { Slots } from "../../services/viperblock/engine/slots.ts";
import { Throttle } from "../../services/viperblock/engine/throttle.ts";
import { linuxMachine } from "../../services/viperblock/machine/linux.ts";

const nullExport = "null";

/** Starts one; waits until it answers. */
export async function startNullVolume(
  socket: string,
  sizeBytes: number,
): Promise<{ readonly uri: string } & AsyncDisposable> {
  const process = new Deno.Command(Deno.execPath(), {
    args: ["run", "-A", new URL(import.meta.url).pathname, socket, String(sizeBytes)],
    stdin: "null",
    stdout: "piped",
  }).spawn();
  const output = process.stdout.getReader();
  const { done } = await output.read();
  if (done) throw new Error("the null volume ended before it served");
  return {
    uri: `nbd+unix:///${nullExport}?socket=${socket}`,
    async [Symbol.asyncDispose]() {
      process.kill("SIGKILL");
      await process.status;
      await output.cancel();
    },
  };
}

function serve(socket: string, sizeBytes: number): void {
  const machine = linuxMachine("/");
  const { ring } = machine;
  const requests = new Requests();
  const slots = new Slots(machine);
  const answer = (id: number) => {
    clients.reply(id);
    return true;
  };
  const commands: Commands = {
    read(id) {
      const slot = slots.take(requests.length[id] as number);
      if (slot < 0) return false;
      requests.slot[id] = slot;
      return answer(id);
    },
    writeBlock: () => true,
    writePart: () => true,
    writeTaken: answer,
    flush: answer,
    zero: answer,
    blockStatus: () => false,
  };
  const served = { name: nullExport, sizeBytes };
  const throttle = new Throttle({}, machine.now);
  const clients = new Clients({ ring, requests, slots, commands, throttle, served, socket });
  clients.listen();
  console.log("READY");
  for (;;) {
    clients.advance(false);
    ring.turn(clients.hasReplies ? 0 : 1);
  }
}

if (import.meta.main) serve(Deno.args[0] ?? "", Number(Deno.args[1]));
