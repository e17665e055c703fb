/**
 * What a test called over HTTPS, for the coverage table: the gateway's own audit entries, written to
 * the file that `MULGA_RECORD_CALLS` names. Without it nothing is recorded.
 */
import type { AuditEntry } from "../../services/gateway/contract.ts";
import type { Bus } from "../../services/bus/bus.ts";

/** Service and action to how often it was answered and refused. */
export type RecordedCalls = Record<string, { answered: number; refused: number }>;

/** @returns writes what was heard since */
export async function recordCalls(bus: Bus): Promise<() => Promise<void>> {
  const file = Deno.env.get("MULGA_RECORD_CALLS");
  if (file === undefined) return () => Promise.resolve();
  const calls: RecordedCalls = {};
  const seen = new Set<string>();
  bus.listen<AuditEntry>("audit.>", (entry) => {
    // An entry that was not acknowledged in time is said again.
    if (seen.has(entry.request_id)) return;
    seen.add(entry.request_id);
    const of = calls[`${entry.service}:${entry.action}`] ??= { answered: 0, refused: 0 };
    if (entry.error_code === undefined) of.answered++;
    else of.refused++;
  });
  await bus.connection.flush();
  return async () => {
    await bus.connection.flush();
    const before: RecordedCalls = await Deno.readTextFile(file).then(JSON.parse).catch(() => ({}));
    for (const [name, { answered, refused }] of Object.entries(calls)) {
      const sum = before[name] ??= { answered: 0, refused: 0 };
      sum.answered += answered;
      sum.refused += refused;
    }
    await Deno.writeTextFile(file, JSON.stringify(before));
  };
}
