/**
 * Claiming: who proves to be at the box, by the code on its screen, gets its administrator's access key.
 *
 * There are two kinds of box to claim. One without a node waits for somebody to say what it shall be:
 * the claim is written down durably, the first-boot step makes the node from it. One whose seed brought
 * no access key is set up and running already: only the key is handed over. In both the code is good
 * once: what makes it void is on the disk before the answer leaves, and of two claims at the same time
 * one is refused. Who loses the answer to a claim gets the key on the box itself, or resets it.
 */
import { type GivenAdminKey, isAccessKey } from "../identity/contract.ts";
import type { Log } from "../log/log.ts";
import { Allowance } from "./allowance.ts";
import type { ClaimCode } from "./claim_code.ts";
import type { Claim, ClaimFiles, Handover } from "./claim_files.ts";
import { readJson, removeDurably, writeDurably } from "./durable_file.ts";
import { defaultRegion, hostname, region, zone, zoneTrouble } from "./names.ts";

/** What the claimer may say besides the code. */
export interface ClaimWish {
  readonly code: string;
  readonly region?: string;
  readonly az?: string;
  readonly hostname?: string;
}

export interface Claimed {
  readonly node_id: string;
  readonly region: string;
  readonly az: string;
  readonly access_key_id: string;
  readonly secret_access_key: string;
}

/** A claim that was refused, with the status that HTTP has for it. */
export class ClaimRefused extends Error {
  override readonly name = "ClaimRefused";
  constructor(message: string, readonly status: 400 | 403 | 409 | 429) {
    super(message);
  }
}

export interface ClaimDesk {
  readonly code: ClaimCode;
  /** What is still to be decided; `claimed` when nothing is. */
  readonly state: "box" | "key" | "claimed";
  /** @throws ClaimRefused */
  claim(wish: ClaimWish, from: string): Promise<Claimed>;
}

const letters = "ABCDEFGHIJKLMNOPQRSTUVWXYZ234567";

/** An access key in AWS's own form. */
export function newAdminKey(): GivenAdminKey {
  const id = Array.from(crypto.getRandomValues(new Uint8Array(16)), (byte) => letters[byte & 31]);
  return {
    access_key_id: `AKIA${id.join("")}`,
    secret_access_key: crypto.getRandomValues(new Uint8Array(30)).toBase64(),
  };
}

/** What the claimer wishes, checked as a seed is. */
export type Wanted = Pick<Claim, "region" | "az" | "hostname">;

/** @throws ClaimRefused */
export function readWish(wish: ClaimWish): Wanted {
  const wanted: { -readonly [K in keyof Wanted]: Wanted[K] } = {};
  for (const [name, { form, expected, longest }] of Object.entries(forms)) {
    const key = name as keyof Wanted;
    const value = wish[key];
    if (value === undefined || value === "") continue;
    if (value.length > longest || !form.test(value)) {
      throw new ClaimRefused(`"${name}" must be ${expected}.`, 400);
    }
    wanted[key] = value;
  }
  const trouble = wanted.az === undefined ? undefined : zoneTrouble(wanted.az, wanted.region);
  if (trouble !== undefined) throw new ClaimRefused(trouble, 400);
  return wanted;
}

const forms = { region, az: zone, hostname } as const;

abstract class Desk implements ClaimDesk {
  // A person mistypes a few times; a code tried at this pace outlasts the building.
  readonly #allowance = new Allowance({
    burst: 5,
    perSecond: 1 / 12,
    allBurst: 20,
    allPerSecond: 1 / 3,
  });
  #busy = false;

  constructor(readonly code: ClaimCode, protected readonly log: Log) {}

  abstract readonly state: "box" | "key" | "claimed";
  protected abstract decide(wish: ClaimWish): Promise<Claimed>;

  async claim(wish: ClaimWish, from: string): Promise<Claimed> {
    if (this.state === "claimed") {
      throw new ClaimRefused(
        "This box is claimed already; whoever claimed it has its access key.",
        409,
      );
    }
    if (!this.#allowance.take(from, performance.now())) {
      throw new ClaimRefused("Too many attempts; wait a minute and try again.", 429);
    }
    if (!this.code.matches(wish.code)) {
      this.log.warn("claim_refused", { from });
      throw new ClaimRefused(
        "This is not the code; it stands on the screen and the serial line of the box.",
        403,
      );
    }
    if (this.#busy) throw new ClaimRefused("This box is being claimed at this moment.", 409);
    this.#busy = true;
    try {
      const claimed = await this.decide(wish);
      this.log.info("claimed", { from, access_key_id: claimed.access_key_id });
      return claimed;
    } finally {
      this.#busy = false;
    }
  }
}

/** A box that has no node yet. */
export class BoxDesk extends Desk {
  #claimed: boolean;

  private constructor(
    code: ClaimCode,
    log: Log,
    readonly files: ClaimFiles,
    readonly node_id: string,
    claimed: boolean,
  ) {
    super(code, log);
    this.#claimed = claimed;
  }

  static async open(
    code: ClaimCode,
    log: Log,
    files: ClaimFiles,
    node_id: string,
  ): Promise<BoxDesk> {
    // Claimed, and cut off before the node was made from it: the code is used.
    const claimed = await readJson(files.claim) !== undefined;
    return new BoxDesk(code, log, files, node_id, claimed);
  }

  get state() {
    return this.#claimed ? "claimed" as const : "box" as const;
  }

  protected async decide(wish: ClaimWish): Promise<Claimed> {
    const wanted = readWish(wish);
    const admin = newAdminKey();
    const claim: Claim = { version: 1, ...wanted, admin, claimed_at: new Date().toISOString() };
    await writeDurably(this.files.claim, `${JSON.stringify(claim)}\n`);
    this.#claimed = true;
    const region = wanted.region ?? defaultRegion;
    return { node_id: this.node_id, region, az: wanted.az ?? `${region}a`, ...admin };
  }
}

/** A running node whose access key nobody has yet. */
export class KeyDesk extends Desk {
  #open = true;

  constructor(
    code: ClaimCode,
    log: Log,
    readonly files: ClaimFiles,
    readonly node: { readonly node_id: string; readonly region: string; readonly az: string },
  ) {
    super(code, log);
  }

  get state() {
    return this.#open ? "key" as const : "claimed" as const;
  }

  protected async decide(wish: ClaimWish): Promise<Claimed> {
    const { region, az, hostname } = readWish(wish);
    const { node } = this;
    const other = (region !== undefined && region !== node.region)
      ? region
      : (az !== undefined && az !== node.az)
      ? az
      : hostname;
    if (other !== undefined) {
      throw new ClaimRefused(
        `This box was set up as ${node.az} by its seed and cannot become ${other} now; ` +
          `claim it without saying so.`,
        409,
      );
    }
    const { admin } = await readJson(this.files.handover) as Handover;
    if (!isAccessKey(admin)) throw new Error(`${this.files.handover} holds no access key`);
    await removeDurably(this.files.handover);
    this.#open = false;
    return { ...node, ...admin };
  }
}
