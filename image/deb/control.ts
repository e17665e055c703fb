/**
 * What Debian's package manager is told: names, versions, what the package needs and why it is there.
 * One package serves Debian 12 and 13. What it depends on comes from the list that `setup` installs
 * from, without what only building guest images needs.
 */
import { guestImagePackages } from "../guest/packages.ts";
import { type PackageNeed, packages } from "../../tasks/setup/packages.ts";

export const packageName = "mulgaos";

export type DebianArchitecture = "amd64" | "arm64";

/** Debian asks for an address; the project has none of its own. */
export const maintainer = "MulgaOS <mulgaos@example.org>";

/** What serves does without: wanted by the operator's command, or makes what serves quicker on one release. */
const recommended = new Set(["openssh-client", "libipsec-mb1"]);
const onlyForImages = new Set(guestImagePackages.map((one) => one.name));

function relation(need: PackageNeed): string {
  return need.atLeast === undefined ? need.name : `${need.name} (>= ${need.atLeast})`;
}

/** What must be installed with it, on either release. */
export function depends(architecture: DebianArchitecture): string[] {
  const wanted = packages.filter((need) =>
    need.set === "run" && !onlyForImages.has(need.name) && !recommended.has(need.name) &&
    (need.architecture === undefined || need.architecture === architecture)
  );
  // What the releases name differently has the same reason: either will do, the newer one first.
  const byReason = new Map<string, PackageNeed[]>();
  for (const need of wanted) {
    const key = need.releases === undefined ? need.name : need.reason;
    byReason.set(key, [...byReason.get(key) ?? [], need]);
  }
  return [
    "libc6 (>= 2.36)",
    // Users, units that open their own files only, and the words by which services say that they are ready.
    "systemd (>= 252)",
    ...[...byReason.values()].map((needs) => needs.map(relation).reverse().join(" | ")),
  ];
}

/** What is installed with it where the release has it. */
export function recommends(architecture: DebianArchitecture): string[] {
  return packages.filter((need) =>
    recommended.has(need.name) &&
    (need.architecture === undefined || need.architecture === architecture)
  ).map(relation);
}

/** Debian's form of a version: `1.0.0-rc.1` is older than `1.0.0`. */
export const debianVersion = (version: string) => version.replace("-", "~");

export interface ControlOptions {
  readonly version: string;
  readonly architecture: DebianArchitecture;
  readonly installed_kib: number;
}

export function control({ version, architecture, installed_kib }: ControlOptions): string {
  return `Package: ${packageName}
Version: ${debianVersion(version)}
Architecture: ${architecture}
Maintainer: ${maintainer}
Installed-Size: ${installed_kib}
Depends: ${depends(architecture).join(", ")}
Recommends: ${recommends(architecture).join(", ")}
Section: admin
Priority: optional
Description: AWS-compatible private cloud on this machine
 MulgaOS turns a machine into a private cloud with the interfaces of AWS: the
 aws command, SDKs and Terraform get EC2, EBS and S3 on your own hardware.
 .
 This package runs its services under systemd, each as a user of its own, and
 brings the runtime and the message bus that they need. On Debian 12 it takes
 QEMU from backports: apt install -t bookworm-backports ./${packageName}_*.deb
`;
}

/** Under which terms its parts are. */
export const copyright = `Format: https://www.debian.org/doc/packaging-manuals/copyright-format/1.0/
Upstream-Name: MulgaOS

Files: *
Copyright: 2026 the authors of MulgaOS
License: Apache-2.0

Files: usr/bin/deno
Copyright: 2018-2026 the Deno authors
License: MIT

Files: usr/lib/mulga/bin/nats-server
Copyright: 2012-2026 The NATS Authors
License: Apache-2.0

License: Apache-2.0
 On Debian systems the full text is in /usr/share/common-licenses/Apache-2.0.

License: MIT
 Permission is hereby granted, free of charge, to any person obtaining a copy
 of this software and associated documentation files (the "Software"), to deal
 in the Software without restriction, including without limitation the rights
 to use, copy, modify, merge, publish, distribute, sublicense, and/or sell
 copies of the Software, and to permit persons to whom the Software is
 furnished to do so, subject to the following conditions:
 .
 The above copyright notice and this permission notice shall be included in all
 copies or substantial portions of the Software.
 .
 THE SOFTWARE IS PROVIDED "AS IS", WITHOUT WARRANTY OF ANY KIND, EXPRESS OR
 IMPLIED, INCLUDING BUT NOT LIMITED TO THE WARRANTIES OF MERCHANTABILITY,
 FITNESS FOR A PARTICULAR PURPOSE AND NONINFRINGEMENT. IN NO EVENT SHALL THE
 AUTHORS OR COPYRIGHT HOLDERS BE LIABLE FOR ANY CLAIM, DAMAGES OR OTHER
 LIABILITY, WHETHER IN AN ACTION OF CONTRACT, TORT OR OTHERWISE, ARISING FROM,
 OUT OF OR IN CONNECTION WITH THE SOFTWARE OR THE USE OR OTHER DEALINGS IN THE
 SOFTWARE.
`;

/** What Debian's checker would say and is meant: the runtime and the bus come as their makers built them. */
export const lintianOverrides = `# The runtime and the bus are taken as their makers built them.
${packageName}: statically-linked-binary [usr/lib/mulga/bin/nats-server]
${packageName}: hardening-no-pie [usr/lib/mulga/bin/nats-server]
${packageName}: hardening-no-relro [usr/bin/deno]
${packageName}: embedded-library lcms2 [usr/bin/deno]
# Both say everything with --help.
${packageName}: no-manual-page [usr/bin/deno]
${packageName}: no-manual-page [usr/bin/hive]
`;
