/**
 * How values become columns and come back.
 *
 * Keys are blobs, since S3 lists them in the order of their UTF-8 bytes. What is absent is NULL in the
 * table and no property in the row, never `undefined` under its name.
 */
const encoder = new TextEncoder();
const decoder = new TextDecoder();

export type Bytes = Uint8Array<ArrayBuffer>;

export const keyBytes = (key: string) => encoder.encode(key);
export const keyText = (value: unknown) => decoder.decode(value as Bytes);

export const json = (value: unknown) => value === undefined ? null : JSON.stringify(value);
export const parsed = <T>(value: unknown): T | undefined =>
  value === null || value === undefined ? undefined : JSON.parse(value as string) as T;

export const optional = <Name extends string, T>(name: Name, value: T | undefined | null) =>
  (value === undefined || value === null ? {} : { [name]: value }) as { [N in Name]?: T };
