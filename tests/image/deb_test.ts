/** The package on an existing Debian host: installed, upgraded, removed, purged. */
import assert from "node:assert/strict";
import { basename, join } from "node:path";
import { buildDeb } from "../../image/deb/build.ts";
import { Container } from "./container.ts";

const architecture = Deno.build.arch === "aarch64" ? "arm64" : "x86-64";

let packages: Promise<readonly string[]> | undefined;
/** Two versions, so that one can follow the other. */
const built = () =>
  packages ??= (async () => {
    const output = await Deno.makeTempDir({ prefix: "mulga-deb-test-" });
    const paths: string[] = [];
    for (const version of ["0.0.1", "0.0.2"]) {
      paths.push(await buildDeb({ architecture, version, output, quick: true }));
    }
    return paths;
  })();

/** The AWS CLI of this machine, as the host's administrator. */
async function aws(host: Container, ...args: string[]): Promise<string> {
  await host.run("hive", "env");
  const data = join(host.root, "var/lib/mulga");
  const { code, stdout, stderr } = await host.beside(
    ["/usr/bin/aws", "--endpoint-url", "https://127.0.0.1:9999", "--output", "text", ...args],
    {
      AWS_PROFILE: "mulga",
      AWS_CONFIG_FILE: "/dev/null",
      AWS_SHARED_CREDENTIALS_FILE: join(data, "aws/credentials"),
      AWS_DEFAULT_REGION: "ap-southeast-2",
      AWS_CA_BUNDLE: join(data, "tls/ca.crt"),
      AWS_EC2_METADATA_DISABLED: "true",
    },
  );
  assert.equal(code, 0, stderr);
  return stdout.trim();
}

const kinds = [
  ["bookworm", "Debian 12", ["--target-release", "bookworm-backports"]],
  ["trixie", "Debian 13", []],
] as const;

for (const [release, name, options] of kinds) {
  Deno.test({
    name: `the package serves on a fresh ${name}, keeps its data when removed, takes it at a purge`,
    ignore: Deno.uid() !== 0,
    async fn(t) {
      const [first, second] = await built();
      assert.ok(first !== undefined && second !== undefined);
      await using host = await Container.make(release);
      for (const path of [first, second]) {
        await Deno.copyFile(path, join(host.root, "root", basename(path)));
      }
      const inside = (path: string) => `/root/${basename(path)}`;
      await host.download("--no-install-recommends", ...options, inside(first));
      await host.boot();
      const apt = (...args: string[]) => host.run("apt-get", "-qy", ...args);
      const install = (path: string) =>
        apt("install", "--no-install-recommends", ...options, inside(path));
      let account = "";

      await t.step("installed, the API answers", async () => {
        await install(first);
        await host.run("hive", "admin", "health", "--timeout", "120");
        account = await aws(host, "sts", "get-caller-identity", "--query", "Account");
        assert.match(account, /^\d{12}$/);
        await aws(host, "s3api", "create-bucket", "--bucket", "kept");
        assert.equal((await host.run("systemctl", "--failed", "--no-legend", "mulga*")).trim(), "");
      });
      await t.step("every service runs as its own user", async () => {
        const users = (await host.run("ps", "-eo", "user:32,args")).split("\n")
          .filter((line) => /\/usr\/lib\/mulga\/(services|bin)\//.test(line))
          .map((line) => line.split(" ")[0] ?? "");
        assert.ok(users.length >= 8, users.join());
        assert.equal(new Set(users).size, users.length);
        assert.ok(!users.includes("root"));
      });
      await t.step("a service that hangs or is killed comes back", async () => {
        const pid = async () =>
          (await host.run("systemctl", "show", "--property=MainPID", "--value", "mulga-identity"))
            .trim();
        const before = await pid();
        await host.run("systemctl", "kill", "--signal=SIGKILL", "mulga-identity");
        await host.run("hive", "admin", "health", "--timeout", "120");
        assert.notEqual(await pid(), before);
      });
      await t.step("an upgrade keeps everything", async () => {
        await install(second);
        await host.run("hive", "admin", "health", "--timeout", "120");
        assert.equal(await aws(host, "sts", "get-caller-identity", "--query", "Account"), account);
        assert.match(await aws(host, "s3api", "list-buckets"), /kept/);
      });
      await t.step("removed, nothing runs and the data stays", async () => {
        await apt("remove", "mulgaos");
        assert.deepEqual(await host.processes(), []);
        await host.run("test", "-f", "/var/lib/mulga/config.json");
        await install(second);
        await host.run("hive", "admin", "health", "--timeout", "120");
        assert.match(await aws(host, "s3api", "list-buckets"), /kept/);
      });
      await t.step("purged, nothing is left", async () => {
        await apt("purge", "mulgaos");
        assert.deepEqual(await host.processes(), []);
        for (const path of ["/var/lib/mulga", "/var/cache/mulga", "/usr/lib/mulga"]) {
          assert.notEqual((await host.try("test", "-e", path)).code, 0, path);
        }
        const links = await host.run("find", "/etc/systemd", "-name", "*mulga*");
        assert.equal(links.trim(), "");
      });
    },
  });
}

Deno.test({
  name: "the packages go when the tests have run",
  async fn() {
    const [path] = await packages ?? [];
    if (path !== undefined) await Deno.remove(join(path, ".."), { recursive: true });
  },
});
