/** One command to QEMU's machine protocol, on a connection of its own. */
export async function qmp(
  socket: string,
  execute: string,
  args?: Record<string, unknown>,
): Promise<unknown> {
  using connection = await Deno.connect({ transport: "unix", path: socket });
  const writer = connection.writable.getWriter();
  const say = (message: unknown) =>
    writer.write(new TextEncoder().encode(JSON.stringify(message) + "\n"));
  await say({ execute: "qmp_capabilities" });
  await say({ execute, ...(args === undefined ? {} : { arguments: args }) });
  let rest = "";
  let answers = 0;
  for await (const chunk of connection.readable.pipeThrough(new TextDecoderStream())) {
    const lines = (rest + chunk).split("\n");
    rest = lines.pop() ?? "";
    for (const line of lines) {
      const message = JSON.parse(line);
      if (message.error) throw new Error(`${execute}: ${message.error.desc}`);
      if ("return" in message && ++answers === 2) return message.return;
    }
  }
  throw new Error(`QEMU closed its socket before it answered ${execute}`);
}
