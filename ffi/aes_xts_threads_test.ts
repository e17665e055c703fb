import assert from "node:assert/strict";

const xts = new URL("./aes_xts.ts", import.meta.url).href;
const libc = new URL("./libc.ts", import.meta.url).href;
const threads = 12;

/** Makes a cipher of each library when all others do; answers what they made of one block. */
const worker = `
  import { xtsLibraries } from ${JSON.stringify(xts)};
  import { mapMemory } from ${JSON.stringify(libc)};
  onmessage = ({ data }) => {
    const gate = new Int32Array(data);
    const memory = mapMemory(8192, { low: true });
    Atomics.add(gate, 0, 1);
    while (Atomics.load(gate, 1) === 0);
    const sealed = xtsLibraries.toReversed().map((make) => {
      using cipher = make(new Uint8Array(64).map((_, i) => i));
      cipher?.name(1, 2, 3);
      cipher?.seal(memory, 0, memory, 4096, 4096);
      return cipher === undefined ? "missing" : memory.bytes.slice(4096, 4128).toHex();
    });
    postMessage(sealed.join());
  };`;

const program = `
  import { beginXts } from ${JSON.stringify(xts)};
  const gate = new SharedArrayBuffer(8);
  const address = URL.createObjectURL(new Blob([${JSON.stringify(worker)}]));
  beginXts();
  const answers = Array.from({ length: ${threads} }, () => {
    const worker = new Worker(address, { type: "module" });
    const { promise, resolve } = Promise.withResolvers();
    worker.onmessage = ({ data }) => resolve(data);
    worker.onerror = (event) => {
      event.preventDefault();
      resolve(event.message);
    };
    worker.postMessage(gate);
    return promise;
  });
  const words = new Int32Array(gate);
  while (Atomics.load(words, 0) < ${threads}) await new Promise((go) => setTimeout(go, 1));
  Atomics.store(words, 1, 1);
  const said = new Set(await Promise.all(answers));
  console.log([...said].join(" or "));
  Deno.exit(0);`;

Deno.test("threads that begin at once seal alike, when the library was begun before them", async () => {
  const directory = await Deno.makeTempDir();
  try {
    const path = `${directory}/begins.ts`;
    await Deno.writeTextFile(path, program);
    const said = new Set<string>();
    // Without that a thread fails in one of some forty processes.
    for (let i = 0; i < 6; i++) {
      const { stdout } = await new Deno.Command(Deno.execPath(), {
        args: ["run", "-A", "--no-check", "--no-lock", path],
        stderr: "inherit",
      }).output();
      said.add(new TextDecoder().decode(stdout).trim());
    }
    assert.equal(said.size, 1, [...said].join("\n"));
    assert.match([...said][0] ?? "", /^([0-9a-f]{64}|missing),[0-9a-f]{64}$/);
  } finally {
    await Deno.remove(directory, { recursive: true });
  }
});
