/** Short things under AES-256-GCM, in base64: nonce, what was sealed, tag. So keys stand, and what tells of a body. */
import { createDecipheriv } from "node:crypto";
import { AesGcm, gcmNonceBytes, gcmTagBytes } from "../../../ffi/libcrypto_gcm.ts";
import type { Bytes } from "../index/columns.ts";

export function sealShort(key: Bytes, plain: Bytes): string {
  const sealed = new Uint8Array(gcmNonceBytes + plain.length + gcmTagBytes);
  const nonce = crypto.getRandomValues(sealed.subarray(0, gcmNonceBytes));
  using cipher = new AesGcm(key);
  cipher.sealNow(nonce, plain, sealed.subarray(gcmNonceBytes));
  return sealed.toBase64();
}

/** @throws where another key sealed it */
export function openShort(key: Bytes, sealed: string): Bytes {
  const data = Buffer.from(sealed, "base64");
  const decipher = createDecipheriv("aes-256-gcm", key, data.subarray(0, gcmNonceBytes));
  decipher.setAuthTag(data.subarray(-gcmTagBytes));
  const opened = decipher.update(data.subarray(gcmNonceBytes, -gcmTagBytes));
  return new Uint8Array(Buffer.concat([opened, decipher.final()]));
}
