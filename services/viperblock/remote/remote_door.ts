/**
 * Volumes for NBD clients on other machines: one TCP port for the node, TLS (NBD_OPT_STARTTLS) with a
 * certificate on both sides, the export's name being the volume's id. Closed unless the node's configuration
 * opens it. Nothing of a volume is ever said in the clear.
 *
 * A client's certificate must be signed by the configured authority for client authentication; whoever has
 * one may use every volume that is mounted here. After the handshake bytes go through to the volume's Unix socket and
 * back; the engine sees one client more. A client that breaks the protocol, or takes too long to say what it
 * wants, loses its connection.
 */
import net from "node:net";
import tls from "node:tls";
import type { Log } from "../../log/log.ts";
import { hello } from "../engine/nbd_negotiation.ts";
import { RemoteNegotiation, unknownExport } from "./remote_negotiation.ts";

const handshakePatience_ms = 10_000;
const mostConnections = 64;

export interface RemoteDoorOptions {
  readonly host: string;
  /** 0 takes a free one. */
  readonly port: number;
  /** PEM. */
  readonly cert: string;
  readonly key: string;
  /** Who signs the clients' certificates. */
  readonly ca: string;
  /** The Unix socket of a volume that is served here. */
  readonly socketOf: (volumeId: string) => string | undefined;
  readonly log: Log;
}

interface Handshake {
  readonly negotiation: RemoteNegotiation;
  /** Ends who takes too long. */
  readonly timer: ReturnType<typeof setTimeout>;
}

const peerOf = (socket: net.Socket) => `${socket.remoteAddress} ${socket.remotePort}`;

export class RemoteDoor implements AsyncDisposable {
  readonly #o: RemoteDoorOptions;
  readonly #server: net.Server;
  readonly #secure: tls.Server;
  readonly #open = new Set<net.Socket>();
  /** Who is in the middle of a handshake, by the client's address and port. */
  readonly #handshaking = new Map<string, Handshake>();

  private constructor(options: RemoteDoorOptions) {
    this.#o = options;
    this.#server = net.createServer((socket) => this.#greet(socket));
    this.#secure = tls.createServer({
      cert: options.cert,
      key: options.key,
      ca: [options.ca],
      requestCert: true,
      rejectUnauthorized: true,
      minVersion: "TLSv1.2",
    }, (socket) => this.#secured(socket));
    this.#secure.on("tlsClientError", (error, socket) => {
      options.log.warn("remote_client_refused", { error: error.message });
      socket.destroy();
    });
  }

  static async open(options: RemoteDoorOptions): Promise<RemoteDoor> {
    const door = new RemoteDoor(options);
    const { promise, resolve, reject } = Promise.withResolvers<void>();
    door.#server.once("error", reject);
    door.#server.listen(options.port, options.host, () => resolve());
    await promise;
    door.#server.on(
      "error",
      (error) => options.log.error("remote_door_failed", { error: error.message }),
    );
    return door;
  }

  get port(): number {
    const address = this.#server.address();
    return typeof address === "object" && address !== null ? address.port : 0;
  }

  #greet(socket: net.Socket): void {
    if (this.#open.size >= mostConnections) {
      socket.destroy();
      return;
    }
    this.#open.add(socket);
    const peer = peerOf(socket);
    const timer = setTimeout(() => socket.destroy(), handshakePatience_ms);
    socket.once("close", () => {
      clearTimeout(timer);
      this.#open.delete(socket);
      this.#handshaking.delete(peer);
    });
    socket.on("error", () => socket.destroy());
    socket.setNoDelay(true);
    const negotiation = new RemoteNegotiation();
    const take = (bytes: Uint8Array) => {
      const step = negotiation.feed(bytes);
      for (const each of step.answers) socket.write(each);
      if (step.next === "close") socket.end();
      if (step.next !== "tls") return;
      socket.off("data", take);
      negotiation.isSecure = true;
      this.#handshaking.set(peer, { negotiation, timer });
      this.#secure.emit("connection", socket);
    };
    socket.on("data", take);
    socket.write(hello());
  }

  /** The client has shown a certificate of the authority. */
  #secured(socket: tls.TLSSocket): void {
    const peer = peerOf(socket);
    const handshake = this.#handshaking.get(peer);
    this.#handshaking.delete(peer);
    if (handshake === undefined || !socket.authorized) {
      socket.destroy();
      return;
    }
    const { negotiation, timer } = handshake;
    socket.on("error", () => socket.destroy());
    const take = (bytes: Uint8Array) => {
      const step = negotiation.feed(bytes);
      for (const each of step.answers) socket.write(each);
      if (step.next === "close") socket.end();
      if (step.next !== "volume") return;
      const path = this.#o.socketOf(step.name);
      if (path === undefined) {
        socket.end(unknownExport(step.option));
        return;
      }
      socket.off("data", take);
      clearTimeout(timer);
      this.#connect(socket, path, step.input, step.known);
    };
    socket.on("data", take);
  }

  #connect(client: tls.TLSSocket, path: string, input: Uint8Array, known: number): void {
    const engine = net.connect({ path });
    engine.on("error", () => client.destroy());
    engine.once("close", () => client.destroy());
    client.once("close", () => engine.destroy());
    client.pause();
    let skip = known;
    const pass = (bytes: Uint8Array) => {
      const from = Math.min(skip, bytes.length);
      skip -= from;
      if (from < bytes.length) client.write(bytes.subarray(from));
      if (skip > 0) return;
      engine.off("data", pass);
      engine.pipe(client);
    };
    engine.on("data", pass);
    engine.write(input);
    client.pipe(engine);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    const { promise, resolve } = Promise.withResolvers<void>();
    this.#server.close(() => resolve());
    for (const socket of this.#open) socket.destroy();
    this.#secure.removeAllListeners();
    await promise;
  }
}
