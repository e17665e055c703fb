/** Starts the identity service. */
import { runService } from "../runtime/run_service.ts";
import { givenKeyFile } from "./contract.ts";
import { startIdentity } from "./identity.ts";
import { readMasterKeys } from "./credentials/master_key.ts";

await runService("identity", async ({ bus, config, log, paths, reportHealth }) => {
  const masterKeys = await readMasterKeys(paths.masterKey);
  const identity = await startIdentity({
    bus,
    log,
    masterKeys,
    masterKeyPath: paths.masterKey,
    clusterId: config.cluster_id,
    givenKeyPath: givenKeyFile(paths),
  });
  reportHealth(() => ({
    status: identity.unreadableSecrets === 0 ? "ok" : "degraded",
    ...(identity.unreadableSecrets === 0 ? {} : {
      detail:
        `${identity.unreadableSecrets} access keys cannot be used: their secrets were altered in the state store.`,
    }),
    facts: {
      accounts: identity.state.accounts.size,
      users: identity.state.users.size,
      access_keys: identity.state.keys.size,
      master_key: masterKeys.currentId,
    },
  }));
});
