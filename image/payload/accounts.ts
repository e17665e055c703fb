/** Users, groups and directories of the product, as systemd-sysusers and systemd-tmpfiles read them. */
import { nodeGroup } from "../../tasks/init/ownership.ts";
import type { ServiceSpec } from "../../services/manifest.ts";
import { layout } from "./layout.ts";

/** sysusers.d: one locked user for each service, its groups, and the group that all of them share. */
export function sysusers(services: readonly ServiceSpec[]): string {
  const groups = [...new Set([nodeGroup, ...services.flatMap((service) => service.groups)])];
  return [
    "# The users of MulgaOS's services: each has its own, so that none reads another's files.",
    ...groups.map((group) => `g ${group} -`),
    ...services.map((service) => `u ${service.user} - "MulgaOS ${service.name}" ${layout.data}`),
    ...services.flatMap((service) => service.groups.map((group) => `m ${service.user} ${group}`)),
    "",
  ].join("\n");
}

/** tmpfiles.d: what must be there before anything of ours runs. */
export function tmpfiles(): string {
  return [
    "# Owners and modes below the data directory are `hive admin first-boot`'s.",
    `d ${layout.data} 0711 root root -`,
    `d ${layout.cache} 0755 root root -`,
    "",
  ].join("\n");
}

/** system-preset: the node starts with the machine, and the bus is ours and not the package's. */
export function preset(): string {
  return [
    "enable mulga.target",
    "enable mulga-health.service",
    "disable nats-server.service",
    "",
  ].join("\n");
}
