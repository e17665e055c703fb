/** The sections of a unified kernel image: a PE file whose sections carry kernel, initrd and words. */

export interface Section {
  readonly name: string;
  readonly size_bytes: number;
  readonly text: () => Promise<string>;
}

export async function sectionsOf(path: string): Promise<Section[]> {
  using file = await Deno.open(path);
  const head = new Uint8Array(8192);
  await file.read(head);
  const view = new DataView(head.buffer);
  const header = view.getUint32(0x3c, true);
  const count = view.getUint16(header + 6, true);
  const table = header + 24 + view.getUint16(header + 20, true);
  return Array.from({ length: count }, (_, number): Section => {
    const at = table + number * 40;
    const size_bytes = view.getUint32(at + 8, true);
    const start = view.getUint32(at + 20, true);
    return {
      name: new TextDecoder().decode(head.subarray(at, at + 8)).replace(/\0+$/, ""),
      size_bytes,
      async text() {
        using again = await Deno.open(path);
        await again.seek(start, Deno.SeekMode.Start);
        const bytes = new Uint8Array(size_bytes);
        await again.read(bytes);
        return new TextDecoder().decode(bytes).replace(/\0+$/, "");
      },
    };
  });
}
