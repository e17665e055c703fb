/**
 * Checksums of what is under a client's own key. They tell of its content, and of eight bytes all of it, so they stand
 * sealed with it and are told to who brings the key. Of what kind they are is no secret.
 */
import { isCustomers, opens, textsOf } from "../encryption/customer_seal.ts";
import type { ChecksumMeta, PartRow, Seal, UploadRow } from "../index/rows.ts";
import { customerKey, namesKey, secretKeyNeeded } from "./customer_keys.ts";

function changed(
  { value, whole, ...rest }: ChecksumMeta,
  change: (value: string) => string,
): ChecksumMeta {
  return {
    ...rest,
    value: change(value),
    ...(whole === undefined ? {} : { whole: change(whole) }),
  };
}

/** As it is kept. @param headers of the request, which has the key */
export function keptChecksum(
  headers: Headers,
  seal: Seal | undefined,
  checksum: ChecksumMeta,
): ChecksumMeta {
  const key = isCustomers(seal) ? customerKey(headers) : undefined;
  if (!isCustomers(seal) || key === undefined) return checksum;
  return changed(checksum, textsOf(seal, key).seal);
}

type Told = (checksum: ChecksumMeta | undefined) => ChecksumMeta | undefined;

/** How checksums are told, those of an object and of its parts: none where a client's own key is needed and has not come. */
export function checksumsTold(headers: Headers, seal: Seal | undefined): Told {
  if (!isCustomers(seal)) return (checksum) => checksum;
  const key = customerKey(headers);
  if (key === undefined || !opens(seal, key)) return () => undefined;
  const { open } = textsOf(seal, key);
  return (checksum) => checksum && changed(checksum, open);
}

/** One of them. */
export const toldChecksum = (
  headers: Headers,
  seal: Seal | undefined,
  checksum: ChecksumMeta | undefined,
) => checksum && checksumsTold(headers, seal)(checksum);

/**
 * Parts with what their checksums are.
 * @param compared whether the request names checksums of parts
 * @throws AwsError `InvalidArgument` where that needs a key that has not come
 */
export function openedParts(
  headers: Headers,
  { meta: { seal }, checksum: begun }: UploadRow,
  parts: readonly PartRow[],
  compared: boolean,
): readonly PartRow[] {
  if (!isCustomers(seal)) return parts;
  if ((begun !== undefined || compared) && !namesKey(headers)) throw secretKeyNeeded();
  const told = checksumsTold(headers, seal);
  return parts.map(({ checksum: kept, ...part }) => {
    const checksum = told(kept);
    return checksum === undefined ? part : { ...part, checksum };
  });
}
