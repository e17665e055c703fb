import assert from "node:assert/strict";
import { connect, type Socket } from "node:net";
import { AcceptedConnections } from "./accepted_connections.ts";

function connected(to: { host: string; port: number; localAddress?: string }): Promise<Socket> {
  const { promise, resolve, reject } = Promise.withResolvers<Socket>();
  const socket = connect(to, () => resolve(socket));
  socket.on("error", reject);
  return promise;
}

Deno.test("connections are known with the port and network that they came from", async () => {
  for (
    const [hostname, host, localAddress, network] of [
      ["127.0.0.1", "127.0.0.1", "127.0.0.1", "7f000001"],
      ["127.0.0.1", "127.0.0.1", "127.0.0.2", "7f000002"],
      ["::1", "::1", undefined, "0000000000000000"],
      // An IPv4 client of a listener for both is the same as of one for IPv4.
      ["::", "127.0.0.1", undefined, "7f000001"],
    ] as const
  ) {
    using listener = Deno.listen({ hostname, port: 0 });
    const { port } = listener.addr;
    const [socket, accepted] = await Promise.all([
      connected({ host, port, ...(localAddress === undefined ? {} : { localAddress }) }),
      listener.accept(),
    ]);
    try {
      const [one, ...more] = new AcceptedConnections().of(port);
      assert.deepEqual(more, []);
      assert.equal(one?.from, socket.localPort);
      assert.equal(one?.network, network, `${localAddress ?? host} at ${hostname}`);
    } finally {
      socket.destroy();
      accepted.close();
    }
  }
});
