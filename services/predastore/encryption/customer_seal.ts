/**
 * Keys of objects sealed under a key of their client's own (SSE-C). That key comes with each request and is never
 * kept: an object's key is sealed under what is derived from it and a salt of the object's, and beside it stands
 * what else is derived from both, by which a wrong key is known before anything is opened. Whoever has the disks
 * and the master key learns nothing by these; a client who loses its key has lost the object.
 */
import { hkdfSync, timingSafeEqual } from "node:crypto";
import { AesGcm, gcmNonceBytes, gcmTagBytes } from "../../../ffi/libcrypto_gcm.ts";
import type { Bytes } from "../index/columns.ts";
import type { CustomerSeal, Seal } from "../index/rows.ts";

export const customerKey_bytes = 32;
const salt_bytes = 32;

/** A client's key is needed, and there is none or another. */
export class CustomerKeyError extends Error {
  override readonly name = "CustomerKeyError";
}

export const isCustomers = (seal: Seal | undefined): seal is CustomerSeal =>
  seal !== undefined && "customer" in seal;

function derive(customer_key: Bytes, salt: Uint8Array, purpose: string): Bytes {
  return new Uint8Array(hkdfSync("sha256", customer_key, salt, purpose, 32));
}

const wrapping = (customer_key: Bytes, salt: Uint8Array) =>
  derive(customer_key, salt, "mulga/predastore/customer-keys/v1");
const checkOf = (customer_key: Bytes, salt: Uint8Array) =>
  derive(customer_key, salt, "mulga/predastore/customer-keys/check/v1");

/** Seals an object's key under its client's. */
export function sealUnder(customer_key: Bytes, object_key: Bytes): Omit<CustomerSeal, "piece"> {
  const salt = crypto.getRandomValues(new Uint8Array(salt_bytes));
  const sealed = new Uint8Array(gcmNonceBytes + object_key.length + gcmTagBytes);
  const nonce = crypto.getRandomValues(sealed.subarray(0, gcmNonceBytes));
  using cipher = new AesGcm(wrapping(customer_key, salt));
  cipher.sealNow(nonce, object_key, sealed.subarray(gcmNonceBytes));
  return {
    key: sealed.toBase64(),
    customer: { salt: salt.toBase64(), check: checkOf(customer_key, salt).toBase64() },
  };
}

/** Whether that is the key that the object was sealed under. */
export function opens({ customer }: CustomerSeal, customer_key: Bytes): boolean {
  const salt = Uint8Array.fromBase64(customer.salt);
  return timingSafeEqual(checkOf(customer_key, salt), Uint8Array.fromBase64(customer.check));
}

/** What opens an object's sealed key. @throws CustomerKeyError */
export function wrappingOf(seal: CustomerSeal, customer_key: Bytes | undefined): Bytes {
  if (customer_key === undefined) throw new CustomerKeyError("the client's key is needed");
  if (!opens(seal, customer_key)) throw new CustomerKeyError("the object has another key");
  return wrapping(customer_key, Uint8Array.fromBase64(seal.customer.salt));
}
