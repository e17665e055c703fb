/**
 * Signing keys for the verifier, asked of identity once per scope and kept while they are valid.
 *
 * The cache is bounded; the oldest goes first. "No such key" is remembered for a second, so that a
 * flood of bad keys does not become a flood of questions; what is not granted has a place of its own, so
 * that such a flood pushes out no grant. Whatever identity says has changed is
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
/** A signer has a few regions and services a day; who only knows its key's id may make up any. */
export const scopesOfKey = 32;

interface Entry {
  readonly access_key_id: string;
  readonly answer: Promise<SigningGrant>;
  until_ms: number;
}

export interface SigningGrantsOptions {
  /** Of how many keys grants are kept, and how many questions; 4,096 unless given. */
  readonly capacity?: number;
  readonly now?: () => number;
}

/** As the newest of at most `capacity`. */
function put<T>(entries: Map<string, T>, key: string, entry: T, capacity: number): void {
  entries.delete(key);
  const [oldest] = entries.keys();
  if (entries.size >= capacity && oldest !== undefined) entries.delete(oldest);
  entries.set(key, entry);
}

export class SigningGrants implements AsyncDisposable {
  readonly #bus: Bus;
  readonly #capacity: number;
  readonly #now: () => number;
  /** Of each access key by its scopes. */
  readonly #granted = new Map<string, Map<string, Entry>>();
  /** Asked for and not granted: no answer yet, or a refusal. */
  readonly #asked = new Map<string, Entry>();
  readonly #changes: { close(): Promise<void> };

  constructor(bus: Bus, options: SigningGrantsOptions = {}) {
    this.#bus = bus;
    this.#capacity = options.capacity ?? 4_096;
    this.#now = options.now ?? Date.now;
    this.#changes = bus.listen<IdentityChanged>(identityChanged, (change) => {
      if (change?.access_key_id === undefined) return this.forget();
      this.#granted.delete(change.access_key_id);
      for (const [key, entry] of this.#asked) {
        if (entry.access_key_id === change.access_key_id) this.#asked.delete(key);
      }
    });
    void this.#forgetOnReconnect();
  }

  async #forgetOnReconnect(): Promise<void> {
    for await (const status of this.#bus.connection.status()) {
      if (status.type === "reconnect") this.forget();
    }
  }

  /** How many grants are held now. */
  get size(): number {
    return [...this.#granted.values()].reduce((sum, scopes) => sum + scopes.size, 0);
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
    const known = this.#granted.get(scope.access_key_id)?.get(key) ?? this.#asked.get(key);
    if (known !== undefined && known.until_ms > this.#now()) return known.answer;
    // Concurrent requests of one scope share one question.
    const entry: Entry = {
      access_key_id: scope.access_key_id,
      answer: this.#bus.ask(signingKey, scope),
      until_ms: this.#now() + signingKey.timeout_ms,
    };
    put(this.#asked, key, entry, this.#capacity);
    entry.answer.then(
      (grant) => {
        entry.until_ms = grant.valid_until_ms;
        // Forgotten meanwhile, it may be no longer true.
        if (this.#asked.get(key) !== entry) return;
        this.#asked.delete(key);
        const scopes = this.#granted.get(scope.access_key_id) ?? new Map<string, Entry>();
        put(scopes, key, entry, scopesOfKey);
        put(this.#granted, scope.access_key_id, scopes, this.#capacity);
      },
      (error) => {
        if (error instanceof AwsError && error.status < 500) {
          entry.until_ms = this.#now() + refused_ms;
        } else if (this.#asked.get(key) === entry) this.#asked.delete(key);
      },
    );
    return entry.answer;
  };

  /** Drops everything: what changed while the bus was away was not heard. */
  forget(): void {
    this.#granted.clear();
    this.#asked.clear();
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.forget();
    await this.#changes.close();
  }
}
