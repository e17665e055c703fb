/** `deno run -A image/signing/generate.ts FILE`: makes FILE (private, 0600) and FILE.pub. */
import { generateKeys } from "./keys.ts";

const [path, ...more] = Deno.args;
if (path === undefined || path.startsWith("-") || more.length > 0) {
  console.error("Makes a key pair that signs releases.\n\nUsage: generate.ts FILE");
  Deno.exit(2);
}
const { privateKey, publicKey } = await generateKeys();
try {
  await Deno.writeTextFile(path, privateKey, { createNew: true, mode: 0o600 });
  await Deno.writeTextFile(`${path}.pub`, publicKey, { createNew: true });
} catch (error) {
  if (!(error instanceof Deno.errors.AlreadyExists)) throw error;
  console.error(`${path} or ${path}.pub is there already; a key is never overwritten.`);
  Deno.exit(1);
}
console.log(`Keep ${path} secret; ${path}.pub goes to /etc/mulga/update-keys of machines.`);
