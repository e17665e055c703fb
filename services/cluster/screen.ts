/**
 * What the box's screen and serial line show: who it is, where it is reached, and what to do next.
 *
 * The text goes into a pipe; whoever holds its other end (mulga-screen.service) writes it to the
 * terminals, so that this service, which faces the network, needs no right to any device. Where there
 * is no pipe there is no screen of ours: a checkout. Only a changed text is written.
 */
import { errorFields, type Log } from "../log/log.ts";
import type { ClaimDesk } from "./claim_desk.ts";
import { hostPort, type OwnAddress } from "./own_addresses.ts";

export const screenPipe = "/run/mulga-screen";

export interface ScreenFacts {
  readonly version: string;
  readonly host: string;
  readonly node_id: string;
  readonly addresses: readonly OwnAddress[];
  readonly ports: { readonly control: number; readonly gateway: number; readonly s3: number };
  readonly certificate: { readonly pin: string; readonly fingerprint: string };
  readonly desk: Pick<ClaimDesk, "state" | "code"> | undefined;
  /** Whether the node is there, or only being made. */
  readonly made: boolean;
  /** One sentence that the operator should know, such as why a seed was refused. */
  readonly notice?: string;
}

/** The text; plain ASCII, at most 79 wide but for the line that is to be copied. */
export function screenText(facts: ScreenFacts): string {
  const { version, host, node_id, addresses, ports, certificate, desk, made, notice } = facts;
  const first = addresses[0]?.address;
  const url = (port: number) => `https://${hostPort(first ?? "ADDRESS", port)}`;
  const lines = [
    "",
    `MulgaOS ${version}   ${host}   node ${node_id}`,
    "",
    first === undefined
      ? "No address yet: is the cable in, and does the network give addresses?"
      : `Addresses: ${addresses.map((one) => `${one.address} (${one.interface})`).join("  ")}`,
  ];
  if (notice !== undefined) lines.push("", `NOTE: ${notice}`);
  if (desk !== undefined && desk.state !== "claimed") {
    lines.push(
      "",
      desk.state === "box"
        ? "This box is not claimed yet. Claim it in a browser on"
        : "This box is set up. Fetch its access key in a browser on",
      `  ${url(ports.control)}/    with the code    ${desk.code.text}`,
      "or with",
      `  curl -k --pinnedpubkey '${certificate.pin}' ${
        url(ports.control)
      }/claim -d code=${desk.code.text}`,
      "",
      "The browser does not know the certificate yet; its SHA-256 fingerprint is",
      `  ${certificate.fingerprint.slice(0, 47)}:`,
      `  ${certificate.fingerprint.slice(48)}`,
    );
  } else if (!made) {
    lines.push("", "This box has been claimed and is being set up.");
  }
  if (made) {
    lines.push(
      "",
      `API      ${url(ports.gateway)}      S3  ${url(ports.s3)}`,
      `Console  ${url(ports.gateway)}/console`,
    );
  }
  return `${lines.join("\n")}\n\n`;
}

const clear = "\x1b[H\x1b[2J";

export class Screen {
  #shown = "";
  #writing: Promise<void> = Promise.resolve();

  constructor(readonly log: Log, readonly pipe: string = screenPipe) {}

  /** Shows the text if it differs from what is shown. Returns when it is in the pipe. */
  async show(text: string): Promise<void> {
    if (text === this.#shown) return await this.#writing;
    this.#shown = text;
    this.#writing = this.#writing.then(() => this.#write(text));
    await this.#writing;
  }

  async #write(text: string): Promise<void> {
    try {
      if (!(await Deno.stat(this.pipe)).isFifo) return;
      using pipe = await Deno.open(this.pipe, { write: true });
      const bytes = new TextEncoder().encode(`${clear}${text}`);
      for (let at = 0; at < bytes.length;) at += await pipe.write(bytes.subarray(at));
    } catch (error) {
      if (error instanceof Deno.errors.NotFound) return;
      this.log.warn("screen_failed", errorFields(error));
    }
  }
}
