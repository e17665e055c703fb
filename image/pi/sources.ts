/**
 * Where the arm64 image takes packages from besides Debian 13 itself, and nothing else than these:
 *
 * - the kernel from Debian 13's backports: 6.12 lacks the drivers of the Raspberry Pi 5's card reader
 *   (SDHCI_BRCMSTB) and of the chip that holds its network and USB (RP1);
 * - `raspi-firmware` from Debian 14 (forky): Debian 13's is of April 2024, and a Pi 4 whose EEPROM is
 *   of February 2025 or later does not boot a GPT with it. Backports have none. It holds files for the
 *   firmware alone, no program that runs here.
 */
import type { Mirrors } from "../guest/debian_archive.ts";

const keyring = "/usr/share/keyrings/debian-archive-keyring.gpg";

function source(uri: string, suite: string, components: string): string {
  return [
    `Types: deb\nURIs: ${uri}\nSuites: ${suite}`,
    `Components: ${components}\nSigned-By: ${keyring}\n`,
  ].join("\n");
}

/** apt takes these packages from that release, at whatever version it has. */
function pin(packages: string, release: string, priority: number): string {
  return `Package: ${packages}\nPin: release n=${release}\nPin-Priority: ${priority}\n`;
}

/** apt's files for an arm64 build, by name below /etc/apt. */
export function piAptFiles(mirrors: Mirrors): ReadonlyMap<string, string> {
  return new Map([
    [
      "sources.list.d/pi.sources",
      [
        source(mirrors.debian, "trixie-backports", "main"),
        source(mirrors.debian, "forky", "non-free-firmware"),
      ].join("\n"),
    ],
    [
      "preferences.d/pi",
      [
        pin("linux-image-* linux-binary-* linux-modules-* linux-base*", "trixie-backports", 990),
        pin("raspi-firmware", "forky", 990),
        pin("*", "forky", -1),
      ].join("\n"),
    ],
  ]);
}
