/** Calls of the SDK's clients to a gateway of the tests, and what became of them: their fault, and their audit record. */
import { Agent } from "node:https";
import { jetstreamManager } from "@nats-io/jetstream";
import { type AuditEntry, auditTrail } from "../../services/gateway/contract.ts";
import { testCredentials, type TestGateway } from "./gateway.ts";
import { until } from "./until.ts";

/** What a client of the SDK is made with: one attempt of each call, on a connection of its own. */
export function clientOptions(
  of: TestGateway,
  credentials: { readonly accessKeyId: string; readonly secretAccessKey: string } = testCredentials,
) {
  return {
    region: "ap-southeast-2",
    endpoint: of.endpoint,
    credentials,
    maxAttempts: 1,
    requestHandler: { httpsAgent: new Agent({ ca: of.tls.ca, keepAlive: false }) },
  };
}

/** The last audit record of that subject. */
export async function auditOf(gateway: TestGateway, subjectName: string): Promise<AuditEntry> {
  const manager = await jetstreamManager(gateway.bus.connection);
  return await until("an audit record", async () => {
    try {
      const message = await manager.streams.getMessage(auditTrail.stream, {
        last_by_subj: subjectName,
      });
      return message?.json<AuditEntry>();
    } catch {
      return undefined;
    }
  });
}

/** Waits for the audit record of a request; what was sent again may have come to stand behind it. */
export async function auditOfRequest(
  gateway: TestGateway,
  request_id: string,
): Promise<AuditEntry> {
  const manager = await jetstreamManager(gateway.bus.connection);
  return await until("the request's audit record", async () => {
    try {
      const { state } = await manager.streams.info(auditTrail.stream);
      for (let seq = state.last_seq; seq >= Math.max(1, state.first_seq); seq--) {
        const message = await manager.streams.getMessage(auditTrail.stream, { seq });
        const entry = message?.json<AuditEntry>();
        if (entry?.request_id === request_id) return entry;
      }
    } catch {
      // There is no stream yet, or it is away.
    }
    return undefined;
  });
}

/** The name and status of what a call failed with. */
export async function faultOf(work: Promise<unknown>): Promise<{ name: string; status: number }> {
  try {
    await work;
  } catch (error) {
    const fault = error as { name: string; $metadata?: { httpStatusCode?: number } };
    return { name: fault.name, status: fault.$metadata?.httpStatusCode ?? 0 };
  }
  return { name: "none", status: 200 };
}
