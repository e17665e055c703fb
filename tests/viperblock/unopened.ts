/** A file that the system does not give, for tests of a disk that does not answer. */
import assert from "node:assert/strict";

/** Opening `path` is EIO: the other end of a terminal whose owner has let nobody in. */
export function unopened(): { readonly path: string } & Disposable {
  const terminals = () =>
    Array.from(Deno.readDirSync("/dev/pts"), ({ name }) => `/dev/pts/${name}`);
  const before = new Set(terminals());
  const owner = Deno.openSync("/dev/ptmx", { read: true, write: true });
  const isRefused = (path: string) => {
    try {
      Deno.openSync(path).close();
      return false;
    } catch (error) {
      return error instanceof Error && "code" in error && error.code === "EIO";
    }
  };
  const path = terminals().find((path) => !before.has(path) && isRefused(path));
  assert.ok(path, "there is a terminal that nobody may open");
  return { path, [Symbol.dispose]: () => owner.close() };
}
