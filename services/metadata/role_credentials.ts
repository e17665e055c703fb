/**
 * Credentials of the roles of instances, asked of identity and kept for a while.
 *
 * A profile's role may change at any time, so an answer serves a quarter of an hour; identity then
 * says whether what is there still holds, and makes new credentials only when the role is another or
 * half of their life is over. While identity cannot be reached, what is there serves to its end.
 */
import type { Bus } from "../bus/bus.ts";
import { systemContext } from "../bus/subject.ts";
import type { InstanceRecord } from "../compute/contract.ts";
import { type InstanceCredentials, instanceCredentials } from "../identity/contract.ts";
import { errorFields, type Log } from "../log/log.ts";

export type Role = InstanceCredentials & {
  /** When they were made: ISO 8601. */
  readonly updated: string;
};

/** How long an answer serves; a profile without a role may get one any moment. */
const serves_ms = 15 * 60_000;
const servesNothing_ms = 5_000;

interface Entry {
  readonly profile_id: string;
  role: Role | undefined;
  until_ms: number;
  asking: Promise<void> | undefined;
}

export class RoleCredentials {
  readonly #entries = new Map<string, Entry>();

  constructor(
    readonly bus: Bus,
    readonly log: Log,
    readonly now: () => number = Date.now,
  ) {}

  /** The credentials of the instance's role; undefined where its profile gives none. */
  async of(instance: InstanceRecord): Promise<Role | undefined> {
    const profile = instance.iam_instance_profile;
    if (profile === undefined) {
      this.#entries.delete(instance.instance_id);
      return undefined;
    }
    let entry = this.#entries.get(instance.instance_id);
    if (entry?.profile_id !== profile.id) {
      entry = { profile_id: profile.id, role: undefined, until_ms: 0, asking: undefined };
      this.#entries.set(instance.instance_id, entry);
    }
    if (entry.until_ms <= this.now()) {
      // A guest that asks many times at once costs one question.
      entry.asking ??= this.#ask(instance, entry);
      await entry.asking;
    }
    return entry.role !== undefined && Date.parse(entry.role.expiration) > this.now()
      ? entry.role
      : undefined;
  }

  async #ask(instance: InstanceRecord, entry: Entry): Promise<void> {
    const { account_id, instance_id } = instance;
    try {
      const answer = await this.bus.ask(
        instanceCredentials,
        {
          account_id,
          instance_id,
          profile_id: entry.profile_id,
          ...(entry.role === undefined ? {} : { current: entry.role.access_key_id }),
        },
        systemContext(instanceCredentials.timeout_ms),
      );
      if (answer === null) entry.role = undefined;
      else if (!("unchanged" in answer)) {
        entry.role = {
          ...answer,
          updated: new Date(this.now()).toISOString().replace(/\.\d+Z$/, "Z"),
        };
      }
      entry.until_ms = this.now() + (entry.role === undefined ? servesNothing_ms : serves_ms);
    } catch (error) {
      this.log.warn("instance_credentials_failed", { instance_id, ...errorFields(error) });
      entry.until_ms = this.now() + servesNothing_ms;
    } finally {
      entry.asking = undefined;
    }
  }

  /** Forgets an instance that is no more. */
  forget(instanceId: string): void {
    this.#entries.delete(instanceId);
  }
}
