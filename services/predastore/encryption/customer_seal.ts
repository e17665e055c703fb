/**
 * Keys of objects sealed under a key of their client's own (SSE-C). That key comes with each request and is never
 * kept: an object's key is sealed under what is derived from it and a salt of the object's, and beside it stands
 * what else is derived from both, by which a wrong key is known before anything is opened. Whoever has the disks
 * and the master key learns nothing by these; a client who loses its key has lost the object.
 */
import { hkdfSync, timingSafeEqual } from "node:crypto";
import type { Bytes } from "../index/columns.ts";
import type { CustomerSeal, Seal } from "../index/rows.ts";
import { openShort, sealShort } from "./sealed_text.ts";

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
  return {
    key: sealShort(wrapping(customer_key, salt), object_key),
    customer: { salt: salt.toBase64(), check: checkOf(customer_key, salt).toBase64() },
  };
}

/** Whether that is the key that the object was sealed under. */
export function opens({ customer }: CustomerSeal, customer_key: Bytes): boolean {
  const salt = Uint8Array.fromBase64(customer.salt);
  return timingSafeEqual(checkOf(customer_key, salt), Uint8Array.fromBase64(customer.check));
}

/** @throws CustomerKeyError */
export function objectKeyOf(seal: CustomerSeal, customer_key: Bytes | undefined): Bytes {
  if (customer_key === undefined) throw new CustomerKeyError("the client's key is needed");
  if (!opens(seal, customer_key)) throw new CustomerKeyError("the object has another key");
  return openShort(wrapping(customer_key, Uint8Array.fromBase64(seal.customer.salt)), seal.key);
}

/** What is kept of an object besides its bodies, and would tell of them. */
export interface SealedTexts {
  seal(text: string): string;
  open(sealed: string): string;
}

/** @throws CustomerKeyError */
export function textsOf(seal: CustomerSeal, customer_key: Bytes): SealedTexts {
  const object_key = objectKeyOf(seal, customer_key);
  // Each body has a key of its own too.
  const key = derive(object_key, new Uint8Array(0), "mulga/predastore/text/v1");
  return {
    seal: (text) => sealShort(key, new TextEncoder().encode(text)),
    open: (sealed) => new TextDecoder().decode(openShort(key, sealed)),
  };
}
