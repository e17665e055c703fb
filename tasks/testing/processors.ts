/**
 * How much of the machine's processors a run used: what is idle while tests wait is time that another
 * suite could have had.
 */
export interface ProcessorTime {
  /** In ticks of the kernel's, of all processors together. */
  readonly busy: number;
  readonly all: number;
}

/** @param stat what `/proc/stat` says */
export function processorTime(stat = Deno.readTextFileSync("/proc/stat")): ProcessorTime {
  // user nice system idle iowait irq softirq steal; the time of guests is in the first two.
  const fields = stat.split("\n", 1)[0]?.trim().split(/\s+/).slice(1, 9).map(Number) ?? [];
  const all = fields.reduce((total, one) => total + one, 0);
  return { all, busy: all - (fields[3] ?? 0) - (fields[4] ?? 0) };
}

/** Whole percent of the time between two looks; undefined when there was none. */
export function busyPercent(before: ProcessorTime, after: ProcessorTime): number | undefined {
  const all = after.all - before.all;
  return all > 0 ? Math.round((after.busy - before.busy) / all * 100) : undefined;
}
