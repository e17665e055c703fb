/**
 * Signing keys for the verifier, asked of identity once per scope and kept while they are valid.
 *
 * The cache is bounded; the oldest goes first. "No such key" is remembered for a second, so that a
 * flood of bad keys does not become a flood of questions. Whatever identity says has changed is
 * dropped at once, and an answer that was on its way when it was said is not kept. While identity
 * cannot be reached, known grants serve until they expire and all others are `ServiceUnavailable`.
 */
import type { Bus } from "../../bus/bus.ts";
import {
  type IdentityChanged,
  identityChanged,
  type SigningGrant,
  signingKey,
  type SigningScope,
} from "../../identity/contract.ts";
import { AwsError } from "../errors.ts";

const refused_ms = 1_000;

interface Entry {
  readonly access_key_id: string;
  readonly answer: Promise<SigningGrant>;
  until_ms: number;
}

export interface SigningGrantsOptions {
  /** How many scopes are kept; 4,096 unless given. */
  readonly capacity?: number;
  readonly now?: () => number;
}

export class SigningGrants implements AsyncDisposable {
  readonly #bus: Bus;
  readonly #capacity: number;
  readonly #now: () => number;
  readonly #entries = new Map<string, Entry>();
  readonly #changes: { close(): Promise<void> };

  constructor(bus: Bus, options: SigningGrantsOptions = {}) {
    this.#bus = bus;
    this.#capacity = options.capacity ?? 4_096;
    this.#now = options.now ?? Date.now;
    this.#changes = bus.listen<IdentityChanged>(identityChanged, (change) => {
      if (change?.access_key_id === undefined) return this.#entries.clear();
      for (const [key, entry] of this.#entries) {
        if (entry.access_key_id === change.access_key_id) this.#entries.delete(key);
      }
    });
    void this.#forgetOnReconnect();
  }

  async #forgetOnReconnect(): Promise<void> {
    for await (const status of this.#bus.connection.status()) {
      if (status.type === "reconnect") this.forget();
    }
  }

  /** How many scopes are held now. */
  get size(): number {
    return this.#entries.size;
  }

  /** The grant of a scope; pass it to `verify` as its `lookup`. */
  readonly lookup = (scope: SigningScope): Promise<SigningGrant> => {
    const key = [
      scope.access_key_id,
      scope.date,
      scope.region,
      scope.service,
      scope.session_token ?? "",
    ].join("/");
    const known = this.#entries.get(key);
    if (known !== undefined && known.until_ms > this.#now()) return known.answer;
    if (known !== undefined) this.#entries.delete(key);
    while (this.#entries.size >= this.#capacity) {
      const [oldest] = this.#entries.keys();
      if (oldest === undefined) break;
      this.#entries.delete(oldest);
    }
    // Concurrent requests of one scope share one question.
    const entry: Entry = {
      access_key_id: scope.access_key_id,
      answer: this.#bus.ask(signingKey, scope),
      until_ms: this.#now() + signingKey.timeout_ms,
    };
    this.#entries.set(key, entry);
    entry.answer.then(
      (grant) => entry.until_ms = grant.valid_until_ms,
      (error) => {
        if (error instanceof AwsError && error.status < 500) {
          entry.until_ms = this.#now() + refused_ms;
        } else if (this.#entries.get(key) === entry) this.#entries.delete(key);
      },
    );
    return entry.answer;
  };

  /** Drops everything: what changed while the bus was away was not heard. */
  forget(): void {
    this.#entries.clear();
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#entries.clear();
    await this.#changes.close();
  }
}
