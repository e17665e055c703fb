/**
 * The files of a simulated store's index in a folder: `index.db` is in use, `copy.db` is as it will be found after a crash, and
 * `found.db` is what the next start goes on with.
 */

// Calls that wait for another thread would cost more than what they do.

/** The files of an index as they were at some moment. */
export interface IndexFiles {
  readonly main: Uint8Array;
  readonly log: Uint8Array;
}

export function forget(folder: string, name: string): void {
  const there = new Set([...Deno.readDirSync(folder)].map((entry) => entry.name));
  for (const suffix of ["", "-wal", "-shm"]) {
    if (there.has(name + suffix)) Deno.removeSync(`${folder}/${name}${suffix}`);
  }
}

export function readIndex(folder: string): IndexFiles {
  return {
    main: Deno.readFileSync(`${folder}/index.db`),
    log: Deno.readFileSync(`${folder}/index.db-wal`),
  };
}

/** @param name `copy.db` is where the check after a crash takes it from */
export function writeIndex(folder: string, { main, log }: IndexFiles, name = "copy.db"): void {
  Deno.writeFileSync(`${folder}/${name}`, main);
  Deno.writeFileSync(`${folder}/${name}-wal`, log);
}

export function copyIndex(folder: string): void {
  writeIndex(folder, readIndex(folder));
}

export function restoreIndex(folder: string): void {
  forget(folder, "found.db");
  for (const suffix of ["", "-wal"]) {
    Deno.renameSync(`${folder}/copy.db${suffix}`, `${folder}/found.db${suffix}`);
  }
}
