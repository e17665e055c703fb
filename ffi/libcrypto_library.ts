/**
 * OpenSSL's libcrypto, as everything here opens it: it never cleans up after itself.
 *
 * By itself it gives all that it has back when the process exits, while other threads (workers that seal or open,
 * calls that do not block) still use it: they then read and free what is gone, and the process dies at its end,
 * after everything went well. Whether it does so is settled by its first call in a process.
 */
export const libcryptoName = "libcrypto.so.3";

const initialization = {
  OPENSSL_init_crypto: { parameters: ["u64", "pointer"], result: "i32" },
} as const;

/** OPENSSL_INIT_NO_ATEXIT. */
const keepsAllAtExit = 0x80000n;

let isBegun = false;

/** @throws Error when it is not there, or has no memory to begin with */
export function openLibcrypto<const Symbols extends Deno.ForeignLibraryInterface>(
  symbols: Symbols,
): Deno.DynamicLibrary<Symbols> {
  if (!isBegun) {
    const { OPENSSL_init_crypto } = Deno.dlopen(libcryptoName, initialization).symbols;
    if (OPENSSL_init_crypto(keepsAllAtExit, null) !== 1) {
      throw new Error(`${libcryptoName} cannot begin`);
    }
    isBegun = true;
  }
  return Deno.dlopen(libcryptoName, symbols);
}
