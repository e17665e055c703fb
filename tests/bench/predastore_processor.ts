/**
 * Wall time of some work, and the processor time that it took a process: of the thread that serves requests, which bounds what
 * one process can do, and of all its threads. Other work on a machine changes it less than it changes the wall time.
 */
export async function seconds(work: () => Promise<void>): Promise<number> {
  const started = performance.now();
  await work();
  return (performance.now() - started) / 1000;
}

export interface Measured {
  readonly seconds: number;
  /** Processor time, in ms: of the thread that serves requests, and of the whole process. */
  readonly thread_ms: number;
  readonly process_ms: number;
}

function processor(pid: number): { readonly thread_ms: number; readonly process_ms: number } {
  let thread_ms = 0;
  let process_ms = 0;
  for (const { name } of Deno.readDirSync(`/proc/${pid}/task`)) {
    let text: string;
    try {
      text = Deno.readTextFileSync(`/proc/${pid}/task/${name}/schedstat`);
    } catch {
      continue; // It has ended.
    }
    const ms = Number(text.split(" ", 1)[0]) / 1e6;
    process_ms += ms;
    if (name === String(pid)) thread_ms = ms;
  }
  return { thread_ms, process_ms };
}

export async function measure(pid: number, work: () => Promise<void>): Promise<Measured> {
  const before = processor(pid);
  const time = await seconds(work);
  const after = processor(pid);
  return {
    seconds: time,
    thread_ms: after.thread_ms - before.thread_ms,
    process_ms: after.process_ms - before.process_ms,
  };
}

export const median = (values: readonly number[]) =>
  values.toSorted((a, b) => a - b)[Math.floor(values.length / 2)] ?? NaN;
