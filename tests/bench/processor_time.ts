/** Processor time of a process so far, or of one of its threads, in microseconds, to a hundredth of a second: [user, system]. */
export function processorTime(pid: number, thread?: number): readonly [number, number] {
  const of = thread === undefined ? `${pid}` : `${pid}/task/${thread}`;
  const text = Deno.readTextFileSync(`/proc/${of}/stat`);
  // The name before it may hold anything.
  const fields = text.slice(text.lastIndexOf(")") + 2).split(" ");
  return [Number(fields[11]) * 10_000, Number(fields[12]) * 10_000];
}

/** The only thread of that name; undefined where there is none, or several. */
export function threadNamed(pid: number, name: string): number | undefined {
  const found = [...Deno.readDirSync(`/proc/${pid}/task`)].map((each) => Number(each.name))
    .filter((thread) => commandOf(pid, thread) === name);
  return found.length === 1 ? found[0] : undefined;
}

function commandOf(pid: number, thread: number): string | undefined {
  try {
    return Deno.readTextFileSync(`/proc/${pid}/task/${thread}/comm`).trim();
  } catch {
    // Threads of a pool come and go.
    return undefined;
  }
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
