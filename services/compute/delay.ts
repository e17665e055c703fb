/** A bounded wait that does not keep the process alive by itself. */
export function delay(milliseconds: number): Promise<void> {
  return new Promise((resolve) => Deno.unrefTimer(setTimeout(resolve, milliseconds) as never));
}
