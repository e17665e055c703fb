/**
 * What a test called over HTTPS, for the coverage table: the gateway's own audit entries, written to
 * the file that `MULGA_RECORD_CALLS` names. Without it nothing is recorded.
 */
import { type AuditEntry, auditTrail, strangersTrail } from "../../services/gateway/contract.ts";
import type { Bus } from "../../services/bus/bus.ts";

/** Service and action to how often it was answered and refused. */
export type RecordedCalls = Record<string, { answered: number; refused: number }>;

/** Adds to what the file holds already: one test may start several gateways. */
async function addTo(file: string, calls: RecordedCalls): Promise<void> {
  const before: RecordedCalls = await Deno.readTextFile(file).then(JSON.parse).catch(() => ({}));
  for (const [name, { answered, refused }] of Object.entries(calls)) {
    const sum = before[name] ??= { answered: 0, refused: 0 };
    sum.answered += answered;
    sum.refused += refused;
  }
  await Deno.writeTextFile(file, JSON.stringify(before));
}

function count(calls: RecordedCalls, service: string, action: string, isRefused: boolean): void {
  const of = calls[`${service}:${action}`] ??= { answered: 0, refused: 0 };
  if (isRefused) of.refused++;
  else of.answered++;
}

/** Counts the calls that a gateway process has logged: one line for each. */
export async function recordLoggedCalls(log: string): Promise<void> {
  const file = Deno.env.get("MULGA_RECORD_CALLS");
  if (file === undefined) return;
  const calls: RecordedCalls = {};
  for (const line of log.split("\n")) {
    // The last line of a process that was killed may be cut off.
    if (!line.startsWith("{") || !line.endsWith("}")) continue;
    const { event, aws_service, action, code } = JSON.parse(line) as Record<string, unknown>;
    if (event !== "call") continue;
    count(calls, String(aws_service), String(action), code !== undefined);
  }
  await addTo(file, calls);
}

/** @returns writes what was heard since */
export async function recordCalls(bus: Bus): Promise<() => Promise<void>> {
  const file = Deno.env.get("MULGA_RECORD_CALLS");
  if (file === undefined) return () => Promise.resolve();
  const calls: RecordedCalls = {};
  const seen = new Set<string>();
  for (const { prefix } of [auditTrail, strangersTrail]) {
    bus.listen<AuditEntry>(`${prefix}.>`, (entry) => {
      // An entry that was not acknowledged in time is said again.
      if (seen.has(entry.request_id)) return;
      seen.add(entry.request_id);
      count(calls, entry.service, entry.action, entry.error_code !== undefined);
    });
  }
  await bus.connection.flush();
  return async () => {
    await bus.connection.flush();
    await addTo(file, calls);
  };
}
