/**
 * Asks identity whether a caller may, and remembers the answer for a few seconds.
 *
 * The cache is bounded and forgets everything when identity says that something has changed, or
 * when the bus was away for a moment and may have missed that. No answer is no permission.
 */
import type { Bus } from "../bus/bus.ts";
import type { CallContext } from "../bus/subject.ts";
import { authorize, identityChanged } from "../identity/contract.ts";

const remembered_ms = 5_000;
const capacity = 10_000;

export class Authorizer implements AsyncDisposable {
  readonly #bus: Bus;
  readonly #answers = new Map<string, { readonly allowed: boolean; readonly until_ms: number }>();
  readonly #changes: { close(): Promise<void> };
  #generation = 0;

  constructor(bus: Bus) {
    this.#bus = bus;
    this.#changes = bus.listen(identityChanged, () => this.forget());
  }

  forget(): void {
    this.#generation++;
    this.#answers.clear();
  }

  /** Whether the caller may do `action` (`ec2:RunInstances`) at all; owners ask for resources. */
  async may(action: string, context: CallContext): Promise<boolean> {
    const key = `${context.principal_arn} ${action} ${context.region} ${context.source_ip}`;
    const known = this.#answers.get(key);
    if (known !== undefined && known.until_ms > Date.now()) return known.allowed;
    const generation = this.#generation;
    const { allowed } = await this.#bus.ask(authorize, {
      principal_arn: context.principal_arn,
      action,
      resource: "*",
    }, context);
    // What changed while the question was on its way is not known to be in the answer.
    if (generation === this.#generation) {
      if (this.#answers.size >= capacity) this.#answers.clear();
      this.#answers.set(key, { allowed, until_ms: Date.now() + remembered_ms });
    }
    return allowed;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#answers.clear();
    await this.#changes.close();
  }
}
