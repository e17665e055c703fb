/**
 * The README's two commands on a machine that has nothing but Node.js: a fresh Debian 12 and a fresh
 * Debian 13 root, made by mmdebstrap and entered with bubblewrap (a chroot would forbid the user
 * namespaces that building an image needs). The checkout is a clone of what is committed.
 */
import assert from "node:assert/strict";
import { join } from "node:path";
import { imageCache } from "../../image/mkosi/run.ts";
import { whatFailed } from "../../tasks/testing/run_tests.ts";
import { CommandFailed, mustRun, run } from "../kit/stack.ts";

/** Of the simulations' histories; all of them run outside. */
const histories = 10;

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

const npx = "npx -y deno@2.9.6 task";

interface FreshRoot extends AsyncDisposable {
  readonly name: string;
  /** The root's file system. */
  readonly system: string;
}

/** A root with nothing but Node.js, and a clone of what is committed. */
async function freshRoot(release: string, name: string): Promise<FreshRoot> {
  const directory = await Deno.makeTempDir({ dir: "/var/tmp", prefix: "fresh-" });
  // Some disks take minutes to give room back, which is nothing that is tested here.
  const remove = async () => {
    const { code, stderr } = await run(["rm", "-rf", "--one-file-system", directory], {
      timeout_ms: 900_000,
    });
    if (code !== 0) console.log(`${name}: ${directory} is not gone: ${stderr || "it takes long"}`);
  };
  try {
    const system = join(directory, "root");
    await mustRun([
      "mmdebstrap",
      "--variant=minbase",
      "--include=ca-certificates,nodejs,npm",
      release,
      system,
      await mirror(),
    ], { timeout_ms: 600_000 });
    // Debian's installer writes this; a bare root has no name for the loopback.
    await Deno.writeTextFile(join(system, "etc/hosts"), "127.0.0.1 localhost\n::1 localhost\n");
    // The root goes with the test: its packages need not be on the disk before the next one is unpacked.
    await Deno.writeTextFile(join(system, "etc/dpkg/dpkg.cfg.d/fresh"), "force-unsafe-io\n");
    await mustRun(["git", "clone", "-q", repository, join(system, "root/mulgaos")]);
    return { name, system, [Symbol.asyncDispose]: remove };
  } catch (error) {
    await remove();
    throw error;
  }
}

/** `up`, what the README says to do next, and `down`. */
async function goesUpAndDown({ system, name }: FreshRoot): Promise<void> {
  // The processes of one call end with it: what up leaves running is used and stopped in it.
  const said = await inside(
    system,
    `${npx} up --ports auto && ${npx} hive status && eval "$(${npx} -q hive env)" && ` +
      `${npx} hive image list && ${npx} down --purge`,
    1_500_000,
  );
  assert.match(said, /debian-13/);
  console.log(`${name}: up has run`);
}

/**
 * The whole of `test`, with fewer of the simulated histories, which are the same on any system, and one
 * suite at a time, since the other root's run beside it.
 */
async function passesItsTests({ system, name }: FreshRoot): Promise<void> {
  const line = `HISTORIES=${histories} LANES=1 ${npx} test`;
  const said = await inside(system, line, 5_400_000).catch((error) => {
    if (!(error instanceof CommandFailed)) throw error;
    const at = error.ran.stdout.lastIndexOf(whatFailed);
    throw at < 0 ? error : new Error(error.ran.stdout.slice(at));
  });
  const counts = /^(\d+) passed, (\d+) failed$/m.exec(said);
  const suites = said.match(/^(?:ok .+ \(.+ s\)|\d+ s, .+ busy)$/gm) ?? [];
  console.log([`${name}: ${counts?.[0] ?? "no count"}`, ...suites].join("\n  "));
  assert.ok(Number(counts?.[1]) > 50, "tests ran");
  assert.equal(counts?.[2], "0");
}

Deno.test("the two commands work on a fresh Debian 12 and a fresh Debian 13", async (t) => {
  await Deno.mkdir(applianceCache, { recursive: true });
  // Making a root is downloading and unpacking, in which two hardly hinder each other.
  const made = await Promise.allSettled([
    freshRoot("bookworm", "Debian 12"),
    freshRoot("trixie", "Debian 13"),
  ]);
  await using roots = new AsyncDisposableStack();
  for (const one of made) if (one.status === "fulfilled") roots.use(one.value);
  const fresh = made.map((one) => {
    if (one.status === "rejected") throw one.reason;
    return one.value;
  });
  // The steps of the two roots run at once.
  const beside = { sanitizeOps: false, sanitizeResources: false, sanitizeExit: false };
  await Promise.all(fresh.map(async (root) => {
    const up = await t.step({
      name: `on ${root.name} up installs what is missing and the API answers`,
      fn: () => goesUpAndDown(root),
      ...beside,
    });
    if (up) {
      await t.step({
        name: `on ${root.name} test passes, with ${histories} histories of each simulation`,
        fn: () => passesItsTests(root),
        ...beside,
      });
    }
    await root[Symbol.asyncDispose]();
  }));
});
