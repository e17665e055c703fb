/**
 * A root shell on a serial line, used by a program: one line goes in, its output and exit code come
 * back. Markers that the shell itself puts together tell the answer from the echo of the question.
 */

export class SerialShell {
  readonly #connection: Deno.Conn;
  readonly #writer: WritableStreamDefaultWriter<Uint8Array>;
  #text = "";
  #ended = false;
  #wake = Promise.withResolvers<void>();
  #number = 0;

  private constructor(connection: Deno.UnixConn) {
    this.#connection = connection;
    this.#writer = connection.writable.getWriter();
    this.#read(connection.readable).catch(() => {
      this.#ended = true;
      this.#wake.resolve();
    });
  }

  async #read(stream: ReadableStream<Uint8Array<ArrayBuffer>>): Promise<void> {
    for await (const chunk of stream.pipeThrough(new TextDecoderStream())) {
      this.#text += chunk;
      this.#wake.resolve();
      this.#wake = Promise.withResolvers();
    }
    this.#ended = true;
    this.#wake.resolve();
  }

  /** Connects and waits until a shell answers. */
  static async open(path: string, limit_ms: number): Promise<SerialShell> {
    const limit = performance.now() + limit_ms;
    let connection: Deno.UnixConn | undefined;
    while (connection === undefined) {
      try {
        connection = await Deno.connect({ transport: "unix", path });
      } catch (error) {
        if (performance.now() > limit) throw error;
        await new Promise((resolve) => setTimeout(resolve, 100));
      }
    }
    const shell = new SerialShell(connection);
    // What is written before there is a shell is lost, so the question is asked again.
    for (;;) {
      try {
        // Ends what an earlier user of the line may have left running.
        await shell.send("\x03");
        await shell.run("stty -echo cols 2000; true", Math.min(10_000, limit_ms));
        return shell;
      } catch (error) {
        if (performance.now() > limit || shell.#ended) {
          shell.close();
          throw new Error(`No shell answered in ${limit_ms} ms.`, { cause: error });
        }
      }
    }
  }

  /** Writes a line and waits for nothing. */
  async send(line: string): Promise<void> {
    await this.#writer.write(new TextEncoder().encode(`${line}\n`));
  }

  /** Runs a line to its end. @returns what it printed @throws Error when its exit code is not 0 */
  async run(line: string, limit_ms = 120_000): Promise<string> {
    const number = ++this.#number;
    const [begin, end] = [`<BEGIN${number}>`, `<END${number}=`];
    this.#text = "";
    await this.send(
      `printf '<BEG''IN${number}>\\n'; { ${line}\n} 2>&1; printf '<EN''D${number}=%d>\\n' $?`,
    );
    const limit = performance.now() + limit_ms;
    for (;;) {
      const from = this.#text.indexOf(begin);
      const to = from < 0 ? -1 : this.#text.indexOf(end, from);
      const close = to < 0 ? -1 : this.#text.indexOf(">", to);
      if (close >= 0) {
        const output = this.#text.slice(from + begin.length, to).replaceAll("\r", "")
          .replace(/^\n/, "");
        const code = Number(this.#text.slice(to + end.length, close));
        if (code !== 0) throw new Error(`\`${line}\` ended with ${code}: ${output.trim()}`);
        return output;
      }
      const left = limit - performance.now();
      if (this.#ended || left <= 0) {
        throw new Error(
          `\`${line}\` did not end in ${limit_ms} ms; so far: ${this.#text.slice(-500)}`,
        );
      }
      const timer = Promise.withResolvers<void>();
      const id = setTimeout(timer.resolve, Math.min(left, 1_000));
      await Promise.race([this.#wake.promise, timer.promise]);
      clearTimeout(id);
    }
  }

  close(): void {
    try {
      this.#connection.close();
    } catch {
      // The machine is off.
    }
  }
}
