/**
 * The request by which something changes, for the events that tell of it. It goes with the asynchronous work of the
 * request, since nothing on the way needs to know it.
 */
import { AsyncLocalStorage } from "node:async_hooks";

export interface Cause {
  readonly request_id: string;
  /** As S3's events name who it was. */
  readonly principal_id: string;
  readonly source_ip: string;
  /** Undefined for what a rule of the bucket does. */
  readonly account_id?: string;
}

const running = new AsyncLocalStorage<Cause>();

export const causedBy = <T>(cause: Cause, work: () => T): T => running.run(cause, work);

export const currentCause = (): Cause | undefined => running.getStore();
