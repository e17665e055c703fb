/** Starts the metadata service of this node. */
import { join } from "node:path";
import { buckets, type InstanceRecord } from "../compute/contract.ts";
import { runService } from "../runtime/run_service.ts";
import { Table } from "../state/table.ts";
import { RoleCredentials } from "./role_credentials.ts";
import { MetadataServers } from "./servers.ts";
import { tokenKey, Tokens } from "./token.ts";

await runService("metadata", async ({ bus, config, log, name, onStop, paths, reportHealth }) => {
  const directory = paths.service(name);
  await Deno.mkdir(directory, { recursive: true, mode: 0o700 });
  const tokens = new Tokens(await tokenKey(join(directory, "token.key")));
  const instances = await Table.follow<InstanceRecord>(bus, buckets.instances, log);
  const servers = new MetadataServers({
    instances,
    node_id: config.node_id,
    paths,
    context: { region: config.region, tokens },
    roles: new RoleCredentials(bus, log),
    log,
  });
  onStop(async () => {
    await servers[Symbol.asyncDispose]();
    await instances[Symbol.asyncDispose]();
  });
  await servers.settled();
  reportHealth(() => ({
    status: "ok",
    facts: { instances: servers.count, requests: servers.requests },
  }));
});
