import assert from "node:assert/strict";
import { listens, untilListening } from "./listening.ts";

Deno.test("a server is there while it listens, and not before or after", async () => {
  const directory = await Deno.makeTempDir();
  try {
    const path = `${directory}/a.sock`;
    await assert.rejects(untilListening(path, 20), /Nobody listens on /);
    const listener = Deno.listen({ transport: "unix", path });
    const connection = await Deno.connect({ transport: "unix", path });
    await untilListening(path);
    listener.close();
    assert.ok(!await listens(path), "a connection that is left is no server");
    connection.close();
  } finally {
    await Deno.remove(directory, { recursive: true });
  }
});
