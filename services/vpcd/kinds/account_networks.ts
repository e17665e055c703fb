/** That an account has had its default network, and its settings of all VPCs, as one record. */
import { kind } from "../../resources/kind.ts";

/** That an account has had its default network. Not shown by any action. */
export const accountNetwork = kind<{ readonly Settings: Readonly<Record<string, string>> }>({
  name: "account-network",
  idPrefix: "account-",
  id: "AccountNetworkId",
  owner: null,
  notFound: "InvalidAccount.NotFound",
});

/** The record of account-wide settings, of which there is one. */
export const settingsId = `account-${"0".repeat(17)}`;
