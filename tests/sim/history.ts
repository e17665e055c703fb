/**
 * What a guest did to a volume, and which states a crash may leave: the one after some first part of
 * what was done, at least all that had to survive. A change may be cut where its kind allows it.
 */
import { crc32c } from "../../ffi/crc32c.ts";

const blockBytes = 4096;

/** How a change that was under way may be cut: between its blocks in order, anywhere, or not at all. */
export type Cut = "between" | "anywhere" | "never";

export interface Change {
  readonly cut: Cut;
  readonly blocks: { readonly block: number; readonly content: number }[];
}

export class History {
  /** Contents by their checksum, by which they are told apart. */
  readonly #contents: Map<number, Uint8Array<ArrayBuffer>> = new Map<
    number,
    Uint8Array<ArrayBuffer>
  >();
  readonly zero: number;
  #base: Uint32Array;
  #changes: Change[] = [];
  /** The state after all that was done. */
  now: Uint32Array;
  /** Changes that must survive a power cut, and the end of the process. */
  durable = 0;
  acknowledged = 0;

  /** @param before a history whose contents are known, and a state of it to begin with */
  constructor(sizeBlocks: number, before?: { history: History; state: Uint32Array }) {
    if (before !== undefined) this.#contents = before.history.#contents;
    this.zero = this.remember(new Uint8Array(blockBytes));
    this.#base = new Uint32Array(sizeBlocks).fill(this.zero);
    if (before !== undefined) this.#base.set(before.state);
    this.now = this.#base.slice();
  }

  get sizeBlocks(): number {
    return this.now.length;
  }

  /** How many changes there are. */
  get length(): number {
    return this.#changes.length;
  }

  remember(bytes: Uint8Array<ArrayBuffer>): number {
    const content = crc32c(bytes);
    if (!this.#contents.has(content)) this.#contents.set(content, bytes.slice());
    return content;
  }

  /** Whether some block of some time had that content. */
  knows(content: number): boolean {
    return this.#contents.has(content);
  }

  contentOf(block: number): Uint8Array<ArrayBuffer> {
    return this.#contents.get(this.now[block] as number) as Uint8Array<ArrayBuffer>;
  }

  /** Begins a change; its blocks follow. Returns the number of changes with it. */
  begin(cut: Cut): Change {
    const change: Change = { cut, blocks: [] };
    this.#changes.push(change);
    return change;
  }

  add(change: Change, block: number, content: number): void {
    change.blocks.push({ block, content });
    this.now[block] = content;
  }

  /** Of the last change only its first blocks were taken, and no more will be. */
  shorten(change: Change, blocks: number): void {
    if (change !== this.#changes.at(-1)) throw new Error("only the last change may be cut short");
    change.blocks.length = blocks;
    this.now = this.#base.slice();
    for (const { blocks } of this.#changes) {
      for (const { block, content } of blocks) this.now[block] = content;
    }
  }

  grow(sizeBlocks: number): void {
    const larger = (state: Uint32Array) => {
      const made = new Uint32Array(sizeBlocks).fill(this.zero);
      made.set(state);
      return made;
    };
    this.now = larger(this.now);
    this.#base = larger(this.#base);
  }

  /**
   * Holds what was found against what may be there.
   * @param must how many changes had to survive
   * @returns what is wrong, or undefined
   */
  judge(found: Uint32Array, must: number): string | undefined {
    const best = this.#longestPrefix(found);
    if (best !== undefined && best >= must) return undefined;
    return best === undefined
      ? `no first part of ${this.#changes.length} changes explains what was found${
        this.#explain(found, must)
      }`
      : `only ${best} of ${this.#changes.length} changes survived, of which ${must} had to`;
  }

  /** As `judge`; goes on from what was found. */
  settle(found: Uint32Array, must: number): string | undefined {
    const wrong = this.judge(found, must);
    if (wrong !== undefined) return wrong;
    this.#base = found.slice();
    this.now = found.slice();
    this.#changes = [];
    this.durable = this.acknowledged = 0;
    return undefined;
  }

  #explain(found: Uint32Array, must: number): string {
    const state = this.#base.slice();
    for (const { blocks } of this.#changes.slice(0, must)) {
      for (const { block, content } of blocks) state[block] = content;
    }
    const lines: string[] = [];
    for (const [block, content] of found.entries()) {
      if (content === this.now[block]) continue;
      const when = this.#changes.flatMap((change, i) =>
        change.blocks.some((each) => each.block === block && each.content === content) ? [i] : []
      );
      lines.push(
        `block ${block}: ${
          this.#contents.has(content) ? `as after change ${when.join("/")}` : "garbage"
        }${content === this.#base[block] ? " or as at the start" : ""}${
          content === state[block] ? "" : ", older or newer than what had to survive"
        }`,
      );
    }
    return lines.length === 0 ? "" : `:\n  ${lines.slice(0, 20).join("\n  ")}`;
  }

  #longestPrefix(found: Uint32Array): number | undefined {
    const state = this.#base.slice();
    let differs = 0;
    for (let i = 0; i < state.length; i++) if (state[i] !== found[i]) differs++;
    let best = differs === 0 ? 0 : undefined;
    for (const [i, change] of this.#changes.entries()) {
      if (
        change.cut === "anywhere" && differs > 0 && this.#partlyDone(change, state, found, differs)
      ) {
        best = i;
      }
      for (const { block, content } of change.blocks) {
        if (state[block] !== found[block]) differs--;
        state[block] = content;
        if (content !== found[block]) differs++;
        if (differs === 0 && change.cut === "between") best = i;
      }
      if (differs === 0) best = i + 1;
    }
    return best;
  }

  /** Whether every block that differs has got what the change gives it. */
  #partlyDone(change: Change, state: Uint32Array, found: Uint32Array, differs: number): boolean {
    const explained = new Set<number>();
    for (const { block, content } of change.blocks) {
      if (state[block] !== found[block] && found[block] === content) explained.add(block);
    }
    return explained.size === differs;
  }
}
