/**
 * What was used not long ago, up to a bound in bytes: two generations, of which the older is dropped
 * whole when the younger is full. Finding and keeping cost one map access, also for a thousand at once.
 */
export class Recent<Key, Value> {
  #young = new Map<Key, Value>();
  #old = new Map<Key, Value>();
  #young_bytes = 0;

  /** @param most_bytes what both generations may hold together */
  constructor(readonly most_bytes: number, readonly size: (value: Value) => number) {}

  get(key: Key): Value | undefined {
    const young = this.#young.get(key);
    if (young !== undefined) return young;
    const old = this.#old.get(key);
    if (old !== undefined) {
      this.#old.delete(key);
      this.set(key, old);
    }
    return old;
  }

  set(key: Key, value: Value): void {
    const before = this.#young.get(key);
    if (before !== undefined) this.#young_bytes -= this.size(before);
    this.#young_bytes += this.size(value);
    this.#young.set(key, value);
    if (this.#young_bytes * 2 <= this.most_bytes) return;
    this.#old = this.#young;
    this.#young = new Map();
    this.#young_bytes = 0;
  }
}
