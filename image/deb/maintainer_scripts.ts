/**
 * What the package manager runs around its work, by systemd's conventions for Debian packages.
 *
 * What always holds: removing stops everything and leaves the data; only a purge removes that. An
 * upgrade restarts the services and leaves the guests running. Without a running systemd (a
 * container, an image being built) only files and users are made.
 */
import type { ServiceSpec } from "../../services/manifest.ts";
import { layout } from "../payload/layout.ts";
import { allUnits, unitName } from "../payload/units.ts";

const running = "[ -d /run/systemd/system ]";
const firstBoot = "mulga-first-boot.service";
const target = "mulga.target";

export interface MaintainerScripts {
  readonly postinst: string;
  readonly prerm: string;
  readonly postrm: string;
}

export function maintainerScripts(services: readonly ServiceSpec[]): MaintainerScripts {
  const all = Object.keys(allUnits(services));
  const restarted = services.map((service) => unitName(service.name));
  return {
    postinst: `#!/bin/sh
set -e

case "$1" in
configure|abort-upgrade|abort-deconfigure|abort-remove)
	systemd-sysusers ${layout.sysusers}
	systemd-tmpfiles --create ${layout.tmpfiles}
	deb-systemd-helper unmask ${target} >/dev/null || true
	if deb-systemd-helper --quiet was-enabled ${target}; then
		deb-systemd-helper enable ${target} >/dev/null || true
	else
		deb-systemd-helper update-state ${target} >/dev/null || true
	fi
	if ${running}; then
		systemctl --system daemon-reload >/dev/null || true
		if [ -n "$2" ]; then
			# The node first, then the services; the guests go on.
			deb-systemd-invoke try-restart ${firstBoot} >/dev/null || true
			deb-systemd-invoke try-restart ${restarted.join(" ")} >/dev/null || true
		fi
		# What is new in this version, and everything at the first installation.
		deb-systemd-invoke start ${target} >/dev/null || true
	fi
	;;
esac
`,
    prerm: `#!/bin/sh
set -e

if [ "$1" = remove ] && ${running}; then
	# Guests first, then the services in the reverse order of their start.
	deb-systemd-invoke stop ${
      [target, ...all.filter((name) => name !== target)].join(" ")
    } >/dev/null || true
fi
`,
    postrm: `#!/bin/sh
set -e

if [ "$1" = remove ]; then
	if command -v deb-systemd-helper >/dev/null; then
		deb-systemd-helper mask ${target} >/dev/null || true
	fi
	if ${running}; then
		systemctl --system daemon-reload >/dev/null || true
	fi
fi

if [ "$1" = purge ]; then
	if command -v deb-systemd-helper >/dev/null; then
		deb-systemd-helper purge ${target} >/dev/null || true
		deb-systemd-helper unmask ${target} >/dev/null || true
	fi
	# All that the node kept. Directories of object shards elsewhere are left: the operator named them.
	rm -rf ${layout.data} ${layout.cache}
fi
`,
  };
}
