import assert from "node:assert/strict";

const gcm = new URL("./libcrypto_gcm.ts", import.meta.url).href;
const xts = new URL("./libcrypto_xts.ts", import.meta.url).href;

/** Makes ciphers and seals with them without end. */
const worker = `
  import { AesGcm } from ${JSON.stringify(gcm)};
  import { libcryptoXts } from ${JSON.stringify(xts)};
  const plain = new Uint8Array(4096);
  const sealed = new Uint8Array(4112);
  postMessage("begun");
  for (;;) {
    using cipher = new AesGcm(new Uint8Array(32), false);
    cipher.sealNow(new Uint8Array(12), plain, sealed);
    using _ = libcryptoXts(crypto.getRandomValues(new Uint8Array(64)));
  }`;

const program = `
  for (let i = 0; i < 4; i++) {
    const address = URL.createObjectURL(new Blob([${JSON.stringify(worker)}]));
    const worker = new Worker(address, { type: "module" });
    await new Promise((resolve) => worker.onmessage = resolve);
  }
  Deno.exit(0);`;

Deno.test("a process may end while its threads are inside libcrypto", async () => {
  const directory = await Deno.makeTempDir();
  try {
    const path = `${directory}/exits.ts`;
    await Deno.writeTextFile(path, program);
    const ends: string[] = [];
    // Each of them dies once in two to ten times when the library cleans up.
    for (let i = 0; i < 40; i++) {
      const { code, signal, stderr } = await new Deno.Command(Deno.execPath(), {
        args: ["run", "-A", "--no-check", "--no-lock", path],
        stdout: "null",
        stderr: "piped",
      }).output();
      if (code !== 0) ends.push(`${code} ${signal} ${new TextDecoder().decode(stderr)}`);
    }
    assert.deepEqual(ends, []);
  } finally {
    await Deno.remove(directory, { recursive: true });
  }
});
