/** Where the product lies on an installed system. Everything else here is derived from these. */

export const layout = {
  deno: "/usr/bin/deno",
  hive: "/usr/bin/hive",
  /** Bundles, nats-server and what belongs to them; read-only. */
  library: "/usr/lib/mulga",
  units: "/usr/lib/systemd/system",
  sysusers: "/usr/lib/sysusers.d/mulga.conf",
  tmpfiles: "/usr/lib/tmpfiles.d/mulga.conf",
  /** All that the node keeps. */
  data: "/var/lib/mulga",
  /** Compiled code, one directory a service: a shared one would let each change what others run. */
  cache: "/var/cache/mulga",
  /** Sockets by which a service speaks to systemd, one directory a service. */
  runtime: "/run/mulga",
} as const;

/** The program of the `nats` service: Debian's own on the appliance, a copy in the package for hosts. */
export const natsServer = `${layout.library}/bin/nats-server`;

/** The bundle of an entry module of the service table, with the folder that it has in the checkout. */
export const bundleOf = (entry: string) => `${layout.library}/${entry.replace(/\.ts$/, ".js")}`;

export const hiveBundle = `${layout.library}/hive.js`;
