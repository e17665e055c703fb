/**
 * The node's presence on the network and on its screen: the control server, the announcements, and
 * the text that tells people where they are. It is the same before a box is claimed and after.
 *
 * Addresses come and go with DHCP: what is shown, said and named by the certificate follows them. The
 * certificate itself is made by the first-boot step, which is asked for by a file.
 */
import { errorFields, type Log } from "../log/log.ts";
import { within } from "../runtime/within.ts";
import type { Announcement } from "./announcement.ts";
import { Announcer, interval_ms } from "./announcer.ts";
import type { ServerCertificate } from "./certificate.ts";
import type { ClaimDesk } from "./claim_desk.ts";
import type { ClaimFiles } from "./claim_files.ts";
import { controlApp } from "./control.ts";
import { writeDurably } from "./durable_file.ts";
import type { NodeKey } from "./node_key.ts";
import { hostPort, type OwnAddress, ownAddresses, watchAddresses } from "./own_addresses.ts";
import { Screen, screenText } from "./screen.ts";

export interface PresenceOptions {
  readonly log: Log;
  readonly bind: string;
  readonly ports: { readonly control: number; readonly gateway: number; readonly s3: number };
  readonly announce: { readonly group: string; readonly port: number };
  readonly key: NodeKey;
  readonly certificate: ServerCertificate;
  readonly caCertificate: string;
  readonly desk: ClaimDesk | undefined;
  readonly files: ClaimFiles;
  /** What the node says of itself; the address is added. */
  readonly node: Omit<Announcement, "format" | "key" | "ts" | "addr">;
  readonly made: boolean;
  readonly notice?: string;
  readonly stopping: AbortSignal;
  readonly screenPipe?: string;
}

/** How long running requests may take to end at a stop; a connection that says nothing never ends. */
const slowestStop_ms = 2_000;

const isLoopback = (bind: string) => /^(127\.|::1$|localhost$)/.test(bind);

export class Presence implements AsyncDisposable {
  readonly #options: PresenceOptions;
  readonly #screen: Screen;
  readonly #server: Deno.HttpServer<Deno.NetAddr>;
  #announcer: Announcer | undefined;
  #trouble: string | undefined;
  #timer: ReturnType<typeof setInterval> | undefined;
  #asked = "";

  private constructor(options: PresenceOptions) {
    this.#options = options;
    this.#screen = new Screen(options.log, options.screenPipe);
    const { log, desk, caCertificate, ports, node, bind, certificate } = options;
    const app = controlApp({ log, desk, caCertificate, ports, describe: () => node });
    this.#server = Deno.serve({
      hostname: bind,
      port: ports.control,
      cert: certificate.cert,
      key: certificate.key,
      onListen: ({ port }) => log.info("control_listening", { bind, port }),
      onError: (error) => {
        log.error("control_failed", errorFields(error));
        return new Response(null, { status: 500 });
      },
    }, async (request, { remoteAddr }) => {
      const reply = await app.fetch(request, { from: remoteAddr.hostname });
      // A claim changes what the screen has to say. What is refused must not make the node speak: anybody may send that.
      if (request.method === "POST" && reply.ok) void this.refresh();
      return reply;
    });
  }

  static async start(options: PresenceOptions): Promise<Presence> {
    const { log, announce, key, node, ports, stopping } = options;
    const presence = new Presence(options);
    try {
      presence.#announcer = new Announcer({
        ...announce,
        key,
        log,
        addresses: () => presence.#speakFrom(presence.#look()),
        describe: (address) => ({ ...node, addr: hostPort(address, ports.control) }),
      });
    } catch (error) {
      // The node works without being heard; its addresses are still looked at.
      presence.#timer = setInterval(() => void presence.refresh(), interval_ms);
      presence.#trouble =
        `UDP port ${announce.port} cannot be used, so this node hears and announces nothing.`;
      log.warn("announcements_off", { port: announce.port, ...errorFields(error) });
    }
    await presence.refresh();
    void watchAddresses(() => void presence.refresh(), stopping)
      .catch((error) => log.warn("address_watch_failed", errorFields(error)));
    return presence;
  }

  get announcer(): Announcer | undefined {
    return this.#announcer;
  }

  get port(): number {
    return this.#server.addr.port;
  }

  /** One sentence when something does not work. */
  get trouble(): string | undefined {
    return this.#trouble;
  }

  #shown(): readonly OwnAddress[] {
    const { bind } = this.#options;
    if (isLoopback(bind)) {
      return [{ interface: "lo", address: "127.0.0.1", family: "IPv4" }];
    }
    const all = ownAddresses();
    const everywhere = bind === "0.0.0.0" || bind === "::";
    return everywhere ? all : all.filter(({ address }) => address === bind);
  }

  #speakFrom(addresses: readonly OwnAddress[]): readonly string[] {
    return addresses.filter(({ family }) => family === "IPv4").map(({ address }) => address);
  }

  /** Looks at the addresses again and brings screen, certificate and announcements up to date. */
  async refresh(): Promise<void> {
    if (this.#announcer === undefined) this.#look();
    else await this.#announcer.announce();
  }

  /** @returns the addresses as they are now, which screen and certificate are told of */
  #look(): readonly OwnAddress[] {
    const { log, node, ports, certificate, desk, made, notice, files } = this.#options;
    const addresses = this.#shown();
    const told = screenText({
      version: node.version,
      host: node.host,
      node_id: node.node_id,
      addresses,
      ports,
      certificate,
      desk,
      made,
      ...(notice === undefined ? {} : { notice }),
    });
    // The pipe may be full as long as nobody reads it; nothing else waits for it.
    void this.#screen.show(told);
    const unnamed = addresses.map(({ address }) => address)
      .filter((address) => !certificate.names(address)).sort().join(" ");
    if (unnamed !== this.#asked && unnamed !== "" && !isLoopback(this.#options.bind)) {
      this.#asked = unnamed;
      log.info("certificate_wanted", { addresses: unnamed });
      void writeDurably(files.certificateWanted, `${unnamed}\n`)
        .catch((error) => log.warn("certificate_not_asked", errorFields(error)));
    }
    return addresses;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    clearInterval(this.#timer);
    this.#announcer?.[Symbol.dispose]();
    await within(slowestStop_ms, this.#server.shutdown());
  }
}
