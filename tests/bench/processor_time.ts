/** Processor time of a process so far, in microseconds, to a hundredth of a second: [user, system]. */
export function processorTime(pid: number): readonly [number, number] {
  const text = Deno.readTextFileSync(`/proc/${pid}/stat`);
  // The name before it may hold anything.
  const fields = text.slice(text.lastIndexOf(")") + 2).split(" ");
  return [Number(fields[11]) * 10_000, Number(fields[12]) * 10_000];
}

/** The two together. */
export function totalProcessorTime(pid: number): number {
  const [user, system] = processorTime(pid);
  return user + system;
}

/** Processor time of this process's children that have ended, in microseconds. */
export function endedChildrenTime(): number {
  const text = Deno.readTextFileSync("/proc/self/stat");
  const fields = text.slice(text.lastIndexOf(")") + 2).split(" ");
  return (Number(fields[13]) + Number(fields[14])) * 10_000;
}
