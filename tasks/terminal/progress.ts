/**
 * How long work shows that it is alive: on a terminal one line that is rewritten, five times a second at
 * most, elsewhere (a log, a pipe) a line for a new step, at most one in three seconds. Goes to standard
 * error, so that what a command prints stays clean.
 */
const encoder = new TextEncoder();
const colours = Deno.stderr.isTerminal() && !Deno.noColor;

const say = (text: string) => {
  const bytes = encoder.encode(text);
  for (let at = 0; at < bytes.length;) at += Deno.stderr.writeSync(bytes.subarray(at));
};

export const green = (text: string) => colours ? `\x1b[32m${text}\x1b[0m` : text;
export const red = (text: string) => colours ? `\x1b[31m${text}\x1b[0m` : text;
export const yellow = (text: string) => colours ? `\x1b[33m${text}\x1b[0m` : text;
export const bold = (text: string) => colours ? `\x1b[1m${text}\x1b[0m` : text;

export class Progress implements Disposable {
  readonly #terminal = Deno.stderr.isTerminal();
  readonly #started = performance.now();
  #lastText = "";
  #lastSaid = 0;
  #open = false;
  #timer: ReturnType<typeof setInterval> | undefined;

  constructor(readonly title: string) {
    if (this.#terminal) {
      this.#timer = setInterval(() => this.#draw(), 1_000);
      Deno.unrefTimer(this.#timer);
    }
    this.update("");
  }

  /** What is being done now, where every step is worth a line. */
  step(detail: string): void {
    this.#lastSaid = 0;
    this.update(detail);
  }

  /** What is being done now; of many steps in a row some are shown. */
  update(detail: string): void {
    const fresh = detail !== this.#lastText;
    this.#lastText = detail;
    const now = performance.now();
    if (this.#terminal) {
      // What is not drawn now is drawn by the timer. A serial line would hold the work up.
      if (this.#lastSaid !== 0 && now - this.#lastSaid < 200) return;
      return this.#draw();
    }
    if (this.#lastSaid !== 0 && (!fresh || now - this.#lastSaid < 3_000)) return;
    this.#lastSaid = now;
    say(`${this.title}${detail === "" ? "" : `: ${detail}`}\n`);
  }

  #draw(): void {
    this.#lastSaid = performance.now();
    const seconds = Math.round((performance.now() - this.#started) / 1_000);
    let width = 80;
    try {
      width = Deno.consoleSize().columns;
    } catch {
      // Standard output is not the terminal; a usual width does.
    }
    const line = `${this.title}${
      this.#lastText === "" ? "" : `: ${this.#lastText}`
    } (${seconds} s)`;
    say(`\r\x1b[K${line.slice(0, width - 1)}`);
    this.#open = true;
  }

  /** Ends the line with its result. */
  done(result = "done"): void {
    this.#close();
    const seconds = ((performance.now() - this.#started) / 1_000).toFixed(1);
    say(`${green("✓")} ${this.title}: ${result} (${seconds} s)\n`);
  }

  fail(result: string): void {
    this.#close();
    say(`${red("✗")} ${this.title}: ${result}\n`);
  }

  #close(): void {
    if (this.#timer !== undefined) clearInterval(this.#timer);
    if (this.#open) say("\r\x1b[K");
    this.#open = false;
  }

  [Symbol.dispose](): void {
    this.#close();
  }
}
