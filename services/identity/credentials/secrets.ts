/**
 * The secrets of access keys: opened for use, checked at start, and sealed anew after a rotation of
 * the master key. Those of temporary credentials are left as they are: they end by themselves, so the
 * older key must stay for as long as the longest of them lasts.
 */
import { internalError } from "../../aws/errors.ts";
import { errorFields, type Log } from "../../log/log.ts";
import { Conflict } from "../../state/table.ts";
import { MasterKeyError } from "../../config/key_file.ts";
import { type MasterKeys, SecretTampered } from "./master_key.ts";
import { type KeyRecord, sealOwner, type SessionRecord, type State } from "../state.ts";

/**
 * Refuses to run with a master key that is not the one that sealed: before anything is written.
 * @throws MasterKeyError
 */
export function checkMasterKeys(state: State, masterKeys: MasterKeys, path: string): void {
  const sealed = [
    ...state.keys.list().map((row) => row.value.secret),
    ...state.accounts.list().flatMap(({ value }) => [
      value.first_start?.secret,
      value.administrator?.secret,
    ]),
  ];
  for (const secret of sealed) {
    if (secret === undefined || masterKeys.knows(secret.master)) continue;
    throw new MasterKeyError(
      `The master key in ${path} is not the one that sealed this cloud's secrets: those need the key with ` +
        `fingerprint ${secret.master}, the file has ${masterKeys.currentId}. Restore the right file; ` +
        `nothing was changed.`,
    );
  }
}

/** Seals with the current master key what an older one sealed. Returns how many do not open. */
export async function sealAnew(state: State, masterKeys: MasterKeys, log: Log): Promise<number> {
  let unreadable = 0;
  let sealedAnew = 0;
  for (const row of state.keys.list()) {
    const { access_key_id } = row.value;
    try {
      const secret = masterKeys.open(row.value.secret, sealOwner(row.value));
      if (row.value.secret.master === masterKeys.currentId) continue;
      await state.keys.update(row.key, {
        ...row.value,
        secret: masterKeys.seal(secret, sealOwner(row.value)),
      }, row.revision);
      sealedAnew++;
    } catch (error) {
      // Somebody else changed or sealed it meanwhile: theirs stands.
      if (error instanceof Conflict) continue;
      if (error instanceof SecretTampered) {
        unreadable++;
        log.error("secret_unreadable", { access_key_id, ...errorFields(error) });
      } else throw error;
    }
  }
  if (sealedAnew > 0) log.info("secrets_sealed_anew", { keys: sealedAnew });
  return unreadable;
}

/** @throws AwsError `InternalError` when the row was altered: never a guess at the secret */
export function secretOf(key: KeyRecord | SessionRecord, masterKeys: MasterKeys): string {
  try {
    return masterKeys.open(key.secret, sealOwner(key));
  } catch (cause) {
    throw internalError(cause);
  }
}
