/**
 * Who may see the pages: browsers that came in by a link which the operator asked for.
 *
 * A link's token works once and for five minutes; a session for eight hours, from any node. The store
 * holds only hashes of both, so that who reads the state store can sign in with nothing. A token is
 * used up by deleting its row with compare-and-set: of two browsers with one link, one gets in.
 */
import { createHash, randomBytes, timingSafeEqual } from "node:crypto";
import type { Bus } from "../bus/bus.ts";
import type { Log } from "../log/log.ts";
import { Conflict, Table } from "../state/table.ts";

export const loginLifetime_ms = 5 * 60_000;
export const sessionLifetime_ms = 8 * 3_600_000;

interface Ticket {
  readonly kind: "login" | "session";
  /** Milliseconds since 1970. */
  readonly expires_ms: number;
}

const tokenForm = /^[A-Za-z0-9_-]{43}$/;

const digest = (text: string) => createHash("sha256").update(text).digest("hex");
const keyOf = (kind: Ticket["kind"], token: string) => `${kind}.${digest(token)}`;

export class Sessions implements AsyncDisposable {
  readonly #table: Table<Ticket>;
  readonly #now: () => number;

  private constructor(table: Table<Ticket>, now: () => number) {
    this.#table = table;
    this.#now = now;
  }

  static async open(bus: Bus, log: Log, now: () => number = Date.now): Promise<Sessions> {
    return new Sessions(await Table.open<Ticket>(bus, "console_sessions", log), now);
  }

  /** Sessions and links that are still good. */
  get size(): number {
    return this.#table.size;
  }

  async #make(kind: Ticket["kind"], lifetime_ms: number) {
    const token = randomBytes(32).toString("base64url");
    const expires_ms = this.#now() + lifetime_ms;
    await this.#table.create(keyOf(kind, token), { kind, expires_ms });
    return { token, expires_ms };
  }

  /** A token that signs in once. */
  async newLogin(): Promise<{ token: string; expires_ms: number }> {
    await this.sweep();
    return await this.#make("login", loginLifetime_ms);
  }

  /** Uses a login token up and gives a session's token for it; undefined when it is no good. */
  async redeem(login: string): Promise<string | undefined> {
    if (!tokenForm.test(login)) return undefined;
    const row = await this.#table.read(keyOf("login", login));
    if (row === undefined) return undefined;
    try {
      await this.#table.delete(row.key, row.revision);
    } catch (error) {
      if (error instanceof Conflict) return undefined;
      throw error;
    }
    if (row.value.kind !== "login" || row.value.expires_ms <= this.#now()) return undefined;
    return (await this.#make("session", sessionLifetime_ms)).token;
  }

  isSignedIn(session: string): boolean {
    if (!tokenForm.test(session)) return false;
    const ticket = this.#table.get(keyOf("session", session))?.value;
    return ticket?.kind === "session" && ticket.expires_ms > this.#now();
  }

  async end(session: string): Promise<void> {
    if (tokenForm.test(session)) await this.#table.delete(keyOf("session", session));
  }

  /** Removes what has expired. */
  async sweep(): Promise<void> {
    for (const row of this.#table.list()) {
      if (row.value.expires_ms > this.#now()) continue;
      try {
        await this.#table.delete(row.key, row.revision);
      } catch (error) {
        if (!(error instanceof Conflict)) throw error;
      }
    }
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#table[Symbol.asyncDispose]();
  }
}

/**
 * What a form of a signed-in page carries: another page on this host, on another port, gets the
 * cookie sent along but cannot know this.
 */
export const formProof = (session: string) => digest(`form|${session}`);

export function isFormProof(given: string, session: string): boolean {
  const wanted = formProof(session);
  return given.length === wanted.length && timingSafeEqual(Buffer.from(given), Buffer.from(wanted));
}

/** The value of a cookie in a `Cookie` header; the first, as browsers put the most specific first. */
export function cookieValue(header: string, name: string): string {
  for (const part of header.split(";")) {
    const at = part.indexOf("=");
    if (at > 0 && part.slice(0, at).trim() === name) return part.slice(at + 1).trim();
  }
  return "";
}
