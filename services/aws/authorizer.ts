/**
 * Asks identity whether a caller may do an action on a resource, and remembers the answer for a few
 * seconds: for the owners of resources.
 *
 * What a caller may do everywhere is remembered once for all resources of its account, so that an administrator's
 * thousandth object costs no question; what belongs to another account is asked for by itself. The cache is bounded and forgets everything when identity says
 * that something has changed, or when the bus was away for a moment and may have missed that. No
 * answer is no permission.
 */
import type { Bus } from "../bus/bus.ts";
import type { CallContext } from "../bus/subject.ts";
import {
  authorize,
  type AuthorizeDecision,
  type AuthorizeRequest,
  identityChanged,
} from "../identity/contract.ts";

const remembered_ms = 5_000;
const capacity = 10_000;

export type Wish = Omit<AuthorizeRequest, "principal_arn">;

/** Whether the resource's name says that it is of another account than the caller's. */
function isOfAnother(resource: string, { account_id }: CallContext): boolean {
  const owner = resource.split(":", 5)[4] ?? "";
  return /^\d{12}$/.test(owner) && owner !== account_id;
}

export class ResourceAuthorizer implements AsyncDisposable {
  readonly #bus: Bus;
  readonly #answers = new Map<string, { readonly allowed: boolean; readonly until_ms: number }>();
  readonly #changes: { close(): Promise<void> };
  #generation = 0;

  constructor(bus: Bus) {
    this.#bus = bus;
    this.#changes = bus.listen(identityChanged, () => this.forget());
    void this.#forgetOnReconnect();
  }

  async #forgetOnReconnect(): Promise<void> {
    for await (const status of this.#bus.connection.status()) {
      if (status.type === "reconnect") this.forget();
    }
  }

  forget(): void {
    this.#generation++;
    this.#answers.clear();
  }

  #known(key: string): boolean | undefined {
    const known = this.#answers.get(key);
    return known !== undefined && known.until_ms > Date.now() ? known.allowed : undefined;
  }

  /**
   * What is said of a resource with a policy of its own, which is asked for each time.
   * @throws AwsError `ServiceUnavailable` when identity does not answer
   */
  async decide(wish: Wish, context: CallContext): Promise<AuthorizeDecision> {
    return await this.#bus.ask(
      authorize,
      { ...wish, principal_arn: context.principal_arn },
      context,
    );
  }

  /** @throws AwsError `ServiceUnavailable` when identity does not answer */
  async may(wish: Wish, context: CallContext): Promise<boolean> {
    // Two sessions of one principal may be narrowed differently.
    const who = [context.principal_arn, context.access_key_id];
    const everywhere = JSON.stringify([...who, wish.action]);
    if (!isOfAnother(wish.resource, context) && this.#known(everywhere) === true) return true;
    const exactly = JSON.stringify([
      ...who,
      wish.action,
      wish.resource,
      wish.conditions ?? {},
      context.region,
      context.source_ip,
    ]);
    const known = this.#known(exactly);
    if (known !== undefined) return known;
    const generation = this.#generation;
    const decision = await this.#bus.ask(authorize, {
      ...wish,
      principal_arn: context.principal_arn,
    }, context);
    // What changed while the question was on its way is not known to be in the answer.
    if (generation === this.#generation) {
      if (this.#answers.size >= capacity) this.#answers.clear();
      this.#answers.set(decision.every_resource === true ? everywhere : exactly, {
        allowed: decision.allowed,
        until_ms: Date.now() + remembered_ms,
      });
    }
    return decision.allowed;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#answers.clear();
    await this.#changes.close();
  }
}
