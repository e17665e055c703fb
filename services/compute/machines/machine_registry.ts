/** The machines of this node that this process holds a connection to, each found again on demand. */
import type { Hypervisor, Machine } from "./hypervisor.ts";

export class MachineRegistry {
  readonly #machines = new Map<string, Machine>();
  readonly #finding = new Map<string, Promise<Machine | undefined>>();

  constructor(
    readonly hypervisor: Hypervisor,
    /** Called whenever a machine's status may have changed, or the machine is gone. */
    readonly onChange: (instanceId: string) => void,
  ) {}

  /** Follows a machine from now on. */
  adopt(machine: Machine): void {
    const id = machine.instance_id;
    this.#machines.set(id, machine);
    machine.onChange(() => this.onChange(id));
    void machine.gone.then(() => {
      if (this.#machines.get(id) === machine) this.#machines.delete(id);
      this.onChange(id);
    });
  }

  /** The machine of an instance, if it exists. */
  async find(instanceId: string): Promise<Machine | undefined> {
    const known = this.#machines.get(instanceId);
    if (known !== undefined && !known.isGone) return known;
    // One search at a time: QMP takes a single client.
    const present = this.#finding.get(instanceId);
    if (present !== undefined) return await present;
    const finding = this.hypervisor.find(instanceId).then((machine) => {
      if (machine !== undefined) this.adopt(machine);
      return machine;
    }).finally(() => this.#finding.delete(instanceId));
    this.#finding.set(instanceId, finding);
    return await finding;
  }

  /** Machines that are known to exist. */
  get known(): readonly Machine[] {
    return [...this.#machines.values()].filter((machine) => !machine.isGone);
  }

  /** Lets go of all connections and leaves the machines alone. */
  async release(): Promise<void> {
    const all = [...this.#machines.values()];
    this.#machines.clear();
    await Promise.allSettled(all.map((machine) => machine.release()));
  }
}
