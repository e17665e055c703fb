/**
 * One HTTP server on a Unix socket for each instance of this node. The guest's network connects a
 * guest to the socket of its own instance and to no other, so the socket says who asks.
 *
 * A socket is there from the instance's record on until the record is terminated; records are
 * followed live, so a changed tag or option is seen by the next request. A guest that asks too much
 * is told 503 and hurts nobody but itself.
 */
import { dirname } from "node:path";
import type { InstanceRecord } from "../compute/contract.ts";
import type { Paths } from "../config/node_config.ts";
import { errorFields, type Log } from "../log/log.ts";
import type { Table } from "../state/table.ts";
import { Allowance } from "./allowance.ts";
import { GuestSocket } from "./guest_socket.ts";
import { pathOf, refusal, respond, type RespondContext } from "./respond.ts";
import type { RoleCredentials } from "./role_credentials.ts";
import { ignoreMissing } from "../config/missing_files.ts";

/** Requests a second that an instance may make for long, and at once. */
const perSecond = 200;
const burst = 1000;

interface Served {
  /** Ends the server at once: a guest that keeps a connection open holds nothing up. */
  readonly abort: AbortController;
  readonly finished: Promise<void>;
  readonly socket: GuestSocket;
  readonly paths: readonly string[];
}

export interface ServersOptions {
  readonly instances: Table<InstanceRecord>;
  readonly node_id: string;
  readonly paths: Pick<Paths, "imds">;
  readonly context: RespondContext;
  readonly roles: Pick<RoleCredentials, "of" | "forget">;
  readonly log: Log;
}

export class MetadataServers implements AsyncDisposable {
  readonly #options: ServersOptions;
  readonly #served = new Map<string, Served>();
  readonly #unwatch: () => void;
  /** Openings and closings, one after the other. */
  #work: Promise<void> = Promise.resolve();
  #requests = 0;

  constructor(options: ServersOptions) {
    this.#options = options;
    this.#unwatch = options.instances.watch(({ key, row }) => this.#note(key, row?.value));
    for (const row of options.instances.list()) this.#note(row.key, row.value);
  }

  get count(): number {
    return this.#served.size;
  }

  get requests(): number {
    return this.#requests;
  }

  /** Returns when every socket that is due is there. */
  async settled(): Promise<void> {
    await this.#work;
  }

  #note(key: string, instance: InstanceRecord | undefined): void {
    const due = instance !== undefined && instance.node_id === this.#options.node_id &&
      instance.state !== "terminated";
    this.#work = this.#work
      .then(() => due ? this.#open(key, instance.instance_id) : this.#close(key))
      .catch((error) =>
        this.#options.log.error("metadata_socket_failed", { key, ...errorFields(error) })
      );
  }

  async #open(key: string, instanceId: string): Promise<void> {
    if (this.#served.has(key)) return;
    const path = this.#options.paths.imds(instanceId);
    await Deno.mkdir(dirname(path), { recursive: true });
    const inner = `${path}.http`;
    await Deno.remove(inner).catch(ignoreMissing);
    const allowance = new Allowance(perSecond, burst);
    const abort = new AbortController();
    const { finished } = Deno.serve({
      path: inner,
      signal: abort.signal,
      onListen: () => {},
      onError: (error) => {
        this.#options.log.error("metadata_failed", {
          instance_id: instanceId,
          ...errorFields(error),
        });
        return refusal(503);
      },
    }, (request) => this.#answer(request, key, allowance));
    // Nobody but this service comes in past the guest's socket.
    await Deno.chmod(inner, 0o600);
    const socket = await GuestSocket.listen(path, inner);
    this.#served.set(key, { abort, finished, socket, paths: [path, inner] });
  }

  async #answer(request: Request, key: string, allowance: Allowance): Promise<Response> {
    this.#requests++;
    const instance = this.#options.instances.get(key)?.value;
    if (instance === undefined || !allowance.take()) return refusal(503);
    const { context, roles } = this.#options;
    const role = instance.iam_instance_profile === undefined ? undefined : await roles.of(instance);
    const response = respond(
      request,
      instance,
      role === undefined ? context : { ...context, role },
    );
    this.#options.log.debug("metadata_answered", {
      instance_id: instance.instance_id,
      method: request.method,
      path: pathOf(request) ?? "malformed",
      status: response.status,
    });
    return response;
  }

  async #close(key: string): Promise<void> {
    const served = this.#served.get(key);
    if (served === undefined) return;
    this.#served.delete(key);
    this.#options.roles.forget(key.slice(key.indexOf(".") + 1));
    await served.socket[Symbol.asyncDispose]();
    served.abort.abort();
    await served.finished;
    for (const path of served.paths) await Deno.remove(path).catch(ignoreMissing);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#unwatch();
    await this.#work;
    for (const key of [...this.#served.keys()]) await this.#close(key);
  }
}
