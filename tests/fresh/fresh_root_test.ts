/**
 * The README's two commands on a machine that has nothing but Node.js: a fresh Debian 12 and a fresh
 * Debian 13 root, made by mmdebstrap and entered with bubblewrap (a chroot would forbid the user
 * namespaces that building an image needs). The checkout is a clone of what is committed.
 */
import assert from "node:assert/strict";
import { join } from "node:path";
import { imageCache } from "../../image/mkosi/run.ts";
import { whatFailed } from "../../tasks/testing/run_tests.ts";
import { CommandFailed, mustRun } from "../kit/stack.ts";

const repository = new URL("../../", import.meta.url).pathname;

/** The mirror that this machine itself installs from. */
async function mirror(): Promise<string> {
  const listed = await mustRun([
    "apt-get",
    "indextargets",
    "--format",
    "$(SITE)",
    "Created-By: Packages",
  ]);
  const site = listed.split("\n").find((line) => /debian/.test(line) && !/security/.test(line));
  return site?.trim() ?? "http://deb.debian.org/debian";
}

/** Settings without which this machine itself would not reach its registries. */
function networkSettings(): string[] {
  const names = ["SSL_CERT_FILE", "NODE_EXTRA_CA_CERTS", "http_proxy", "https_proxy", "no_proxy"];
  return names.flatMap((name) => {
    const value = Deno.env.get(name);
    return value === undefined ? [] : ["--setenv", name, value];
  });
}

/**
 * What building the appliance keeps: Debian 13's tools and packages, of which a cold build would fetch
 * half a gigabyte for each root. Everything else the root makes for itself.
 */
const applianceCache = join(imageCache(), "appliance");

/** Runs a shell line inside the root as its root user, with this machine's network. */
async function inside(root: string, line: string, timeout_ms: number): Promise<string> {
  return await mustRun([
    "bwrap",
    ...["--bind", root, "/", "--dev-bind", "/dev", "/dev", "--proc", "/proc"],
    ...["--ro-bind", "/sys", "/sys", "--tmpfs", "/run"],
    ...["--bind", applianceCache, "/root/.cache/mulga/appliance"],
    ...["--ro-bind", "/etc/resolv.conf", "/etc/resolv.conf"],
    ...["--ro-bind", "/etc/ssl/certs/ca-certificates.crt", "/etc/ssl/certs/ca-certificates.crt"],
    ...["--unshare-pid", "--unshare-uts", "--unshare-ipc", "--die-with-parent"],
    ...["--cap-add", "ALL", "--clearenv", ...networkSettings()],
    ...["--setenv", "HOME", "/root", "--setenv", "NO_COLOR", "1", "--setenv", "CI", "true"],
    ...["--setenv", "PATH", "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"],
    ...["--chdir", "/root/mulgaos", "sh", "-ec", line],
  ], { timeout_ms });
}

for (const [release, name] of [["bookworm", "Debian 12"], ["trixie", "Debian 13"]] as const) {
  Deno.test(`the two commands work on a fresh ${name}`, async (t) => {
    const root = await Deno.makeTempDir({ dir: "/var/tmp", prefix: "fresh-" });
    const log = (what: string) => console.log(`${name}: ${what}`);
    try {
      await mustRun([
        "mmdebstrap",
        "--variant=minbase",
        "--include=ca-certificates,nodejs,npm",
        release,
        join(root, "root"),
        await mirror(),
      ], { timeout_ms: 600_000 });
      const system = join(root, "root");
      await Deno.mkdir(applianceCache, { recursive: true });
      // Debian's installer writes this; a bare root has no name for the loopback.
      await Deno.writeTextFile(join(system, "etc/hosts"), "127.0.0.1 localhost\n::1 localhost\n");
      await mustRun(["git", "clone", "-q", repository, join(system, "root/mulgaos")]);
      const npx = "npx -y deno@2.9.6 task";
      let passed = false;
      await t.step("up installs what is missing and the API answers", async () => {
        // The processes of one call end with it: what up leaves running is used and stopped in it.
        const said = await inside(
          system,
          `${npx} up --ports auto && ${npx} hive status && eval "$(${npx} -q hive env)" && ` +
            `${npx} hive image list && ${npx} down --purge`,
          1_500_000,
        );
        assert.match(said, /debian-13/);
        passed = true;
        log("up has run");
      });
      if (!passed) return;
      await t.step("test passes", async () => {
        const said = await inside(system, `${npx} test`, 2_400_000).catch((error) => {
          if (!(error instanceof CommandFailed)) throw error;
          const at = error.ran.stdout.lastIndexOf(whatFailed);
          throw at < 0 ? error : new Error(error.ran.stdout.slice(at));
        });
        const counts = /^(\d+) passed, (\d+) failed/m.exec(said);
        log(counts?.[0] ?? "no count");
        assert.ok(Number(counts?.[1]) > 50, "tests ran");
        assert.equal(counts?.[2], "0");
      });
    } finally {
      await mustRun(["rm", "-rf", "--one-file-system", root]);
    }
  });
}
