/**
 * Who may import what: a service knows another only by its `contract.ts`, `ffi/` knows nothing of
 * ours, shared ground knows no service, and nothing that runs in production imports tests or tasks.
 */
import assert from "node:assert/strict";
import { dirname, join, relative } from "node:path";
import { services } from "../services/manifest.ts";

const root = new URL("..", import.meta.url).pathname.replace(/\/$/, "");

async function* sources(folder: string): AsyncGenerator<string> {
  for await (const entry of Deno.readDir(join(root, folder))) {
    const path = join(folder, entry.name);
    if (entry.isDirectory) yield* sources(path);
    else if (/\.tsx?$/.test(entry.name) && !/_test\.tsx?$/.test(entry.name)) yield path;
  }
}

async function importsOf(path: string): Promise<string[]> {
  const text = await Deno.readTextFile(join(root, path));
  return [...text.matchAll(/(?:\bfrom|\bimport)\s*\(?\s*"(\.[^"]+)"/g)]
    .map((match) => relative(root, join(root, dirname(path), match[1] ?? "")));
}

const owners: readonly string[] = services.map((service) => service.name);

/** The service that a file belongs to, or undefined on shared ground. */
function ownerOf(path: string): string | undefined {
  const folder = path.split("/")[1] ?? "";
  return path.startsWith("services/") && owners.includes(folder) ? folder : undefined;
}

Deno.test("services know each other by contract alone, and shared ground knows none", async () => {
  const wrong: string[] = [];
  let seen = 0;
  for (const folder of ["services", "ffi"]) {
    for await (const path of sources(folder)) {
      for (const imported of await importsOf(path)) {
        seen++;
        const [from, to] = [ownerOf(path), ownerOf(imported)];
        const contract = imported.endsWith("/contract.ts");
        const allowed = folder === "ffi"
          ? imported.startsWith("ffi/")
          // The release's version stands in deno.json, and is part of every bundle.
          : imported === "deno.json" || imported.startsWith("ffi/") ||
            (imported.startsWith("services/") &&
              (to === undefined || to === from || contract));
        if (!allowed) wrong.push(`${path} imports ${imported}`);
      }
    }
  }
  assert.ok(seen > 50, "the walk found the imports");
  assert.deepEqual(wrong, []);
});

Deno.test("no file needs itself by way of others, not even for a type, so that each can be read by itself", async () => {
  const needs = new Map<string, readonly string[]>();
  for (const folder of ["services", "ffi", "tasks", "image"]) {
    for await (const path of sources(folder)) {
      needs.set(path, await importsOf(path));
    }
  }
  const circles: string[] = [];
  const done = new Set<string>();
  const walk = (path: string, way: readonly string[]) => {
    const at = way.indexOf(path);
    if (at >= 0) circles.push([...way.slice(at), path].join(" -> "));
    if (at >= 0 || done.has(path)) return;
    for (const next of needs.get(path) ?? []) walk(next, [...way, path]);
    done.add(path);
  };
  for (const path of needs.keys()) walk(path, []);
  assert.ok([...needs.values()].flat().length > 500, "the walk found the imports");
  assert.deepEqual(circles, []);
});
