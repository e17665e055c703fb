/**
 * The units around claiming a box: one that runs the first-boot step again when the cluster service
 * asks for it, and the screen.
 *
 * The cluster service faces the network and has no right but to write into its own directory; the
 * appearance of a file there is its only word to the step, which reads nothing of it but a claim. The
 * screen's text comes through a pipe, so that the same service needs no right to a terminal. A login
 * prompt would offer what nobody can use (no account has a password) and would share the line with
 * the text, so on the appliance the screen takes its place.
 */
import { pathsOf } from "../../services/config/node_config.ts";
import { claimFiles } from "../../services/cluster/claim_files.ts";
import { screenPipe } from "../../services/cluster/screen.ts";
import { services } from "../../services/manifest.ts";
import { layout } from "./layout.ts";

const files = claimFiles(pathsOf(layout.data));
const clusterUser = services.find(({ name }) => name === "cluster")?.user ?? "root";
const onAppliance = "ConditionOSRelease=IMAGE_ID=mulgaos";

const unit = (...lines: readonly string[]) => [...lines, ""].join("\n");

/** Those of the units that `mulga.target` starts; the others follow from them. */
export const startsWithTarget = (name: string) => /\.(path|socket)$/.test(name);

export function claimUnits(): Readonly<Record<string, string>> {
  return {
    "mulga-claim.path": unit(
      "[Unit]",
      "Description=MulgaOS: a claim, or an address that the certificate does not name",
      // A path unit is part of what comes before every service, so without this it could not come
      // after one: systemd would drop one of them to get out of the circle.
      "DefaultDependencies=no",
      "Conflicts=shutdown.target",
      "Before=shutdown.target",
      "After=mulga-first-boot.service",
      "PartOf=mulga.target",
      "",
      "[Path]",
      `PathExists=${files.claim}`,
      `PathExists=${files.certificateWanted}`,
    ),
    "mulga-claim.service": unit(
      "[Unit]",
      "Description=MulgaOS: make the node of a claim, or renew its certificate",
      "After=mulga-first-boot.service",
      "StartLimitIntervalSec=0",
      "",
      "[Service]",
      "Type=oneshot",
      `ExecStart=${layout.hive} admin first-boot`,
      `Environment=MULGA_DATA_DIR=${layout.data} NO_COLOR=1`,
      "TimeoutStartSec=300",
      // While it waits for its next attempt the path does not start it over and over.
      "Restart=on-failure",
      "RestartSec=10",
    ),
    "mulga-screen.socket": unit(
      "[Unit]",
      "Description=MulgaOS: what the screen and the serial line show",
      onAppliance,
      "",
      "[Socket]",
      `ListenFIFO=${screenPipe}`,
      `SocketUser=${clusterUser}`,
      "SocketMode=0600",
    ),
    "mulga-screen.service": unit(
      "[Unit]",
      "Description=MulgaOS: write to the screen and the serial line",
      onAppliance,
      "",
      "[Service]",
      "ExecStart=/usr/bin/tee /dev/console",
      "StandardInput=socket",
      "StandardOutput=tty",
      "StandardError=journal",
      "TTYPath=/dev/tty1",
      "Restart=on-failure",
      "RestartSec=1",
      "NoNewPrivileges=yes",
      "CapabilityBoundingSet=",
      "PrivateNetwork=yes",
      "ProtectSystem=strict",
      "ProtectHome=yes",
      "RestrictAddressFamilies=none",
      "SystemCallFilter=@system-service",
      "MemoryDenyWriteExecute=yes",
    ),
  };
}
