/**
 * How much may be going on at once: a bound on memory and on what one account can take from others.
 *
 * Requests that are being received are few milliseconds of work and at most one body each, but whoever connects can send
 * slowly: those that name no access key of this cloud have places of their own, so that strangers hold up nobody
 * but strangers, and of the others one key's senders hold up half of the places at most: its id is no secret. Calls of an account may last as long as their deadline. Who is over a limit is told so at once, in words on
 * which every AWS client waits and tries again.
 */
import { AwsError } from "../aws/errors.ts";

export interface AdmissionLimits {
  /** Bodies being received and verified; of senders who name one access key half as many. */
  readonly receiving: number;
  /** The same of senders who name no access key of this cloud. */
  readonly strangers: number;
  /** Calls of one account. */
  readonly account: number;
}

const ordinaryLimits: AdmissionLimits = { receiving: 256, strangers: 64, account: 256 };

export class Admission {
  readonly #limits: AdmissionLimits;
  readonly #accounts = new Map<string, number>();
  /** By access key; strangers are under the empty one. */
  readonly #receiving = new Map<string, number>();

  #signers = 0;

  constructor(limits: AdmissionLimits = ordinaryLimits) {
    this.#limits = limits;
  }

  /**
   * @param access_key_id which the sender names; none of a stranger
   * @throws AwsError `RequestLimitExceeded`; `Throttling` where the service is not EC2
   */
  receive(service: string, access_key_id = ""): Disposable {
    const { receiving, strangers } = this.#limits;
    const own = this.#receiving.get(access_key_id) ?? 0;
    if (access_key_id === "") {
      if (own >= strangers) throw exceeded(service);
    } else if (this.#signers >= receiving || own >= Math.ceil(receiving / 2)) {
      throw exceeded(service);
    }
    return this.#place(access_key_id);
  }

  #place(access_key_id: string): Disposable {
    const add = (by: 1 | -1) => {
      const now = (this.#receiving.get(access_key_id) ?? 0) + by;
      if (now === 0) this.#receiving.delete(access_key_id);
      else this.#receiving.set(access_key_id, now);
      if (access_key_id !== "") this.#signers += by;
    };
    add(1);
    let over = false;
    return {
      [Symbol.dispose]: () => {
        if (!over) add(-1);
        over = true;
      },
    };
  }

  /** @throws AwsError as `receive` does */
  call(service: string, account_id: string): Disposable {
    const running = this.#accounts.get(account_id) ?? 0;
    if (running >= this.#limits.account) throw exceeded(service);
    this.#accounts.set(account_id, running + 1);
    return {
      [Symbol.dispose]: () => {
        const now = this.#accounts.get(account_id) ?? 1;
        if (now <= 1) this.#accounts.delete(account_id);
        else this.#accounts.set(account_id, now - 1);
      },
    };
  }
}

function exceeded(service: string): AwsError {
  return service === "ec2"
    ? new AwsError("RequestLimitExceeded", "Request limit exceeded.", { status: 503 })
    : new AwsError("Throttling", "Rate exceeded");
}
