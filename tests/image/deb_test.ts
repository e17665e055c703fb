/** The package on an existing Debian host: installed, upgraded, removed, purged. */
import assert from "node:assert/strict";
import { basename, join } from "node:path";
import { buildDeb } from "../../image/deb/build.ts";
import { until } from "../kit/until.ts";
import { tinyGuestImage, tinyGuestReady } from "../kit/tiny_guest.ts";
import { Container } from "./container.ts";

const architecture = Deno.build.arch === "aarch64" ? "arm64" : "x86-64";
const guestType = architecture === "arm64" ? "t4g.nano" : "t3.nano";

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

/** Units that have failed on the host, whosever they are. */
async function failedUnits(host: Container): Promise<string[]> {
  const text = await host.run("systemctl", "list-units", "--failed", "--plain", "--no-legend");
  return text.split("\n").flatMap((line) => line.split(" ")[0] || []).sort();
}

/** The processes of guests on the host. */
async function guests(host: Container): Promise<string[]> {
  const { stdout } = await host.try("pgrep", "qemu-system");
  return stdout.split("\n").filter((pid) => pid !== "");
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
      const failedBefore = await failedUnits(host);
      const apt = (...args: string[]) => host.run("apt-get", "-qy", ...args);
      const install = (path: string) =>
        apt("install", "--no-install-recommends", ...options, inside(path));
      let account = "";
      let guest = "";
      const stateOf = (id: string) =>
        aws(
          host,
          ...["ec2", "describe-instances", "--instance-ids", id],
          ...["--query", "Reservations[0].Instances[0].State.Name"],
        );

      await t.step("installed, the API answers", async () => {
        await install(first);
        await host.run("hive", "admin", "health", "--timeout", "120");
        account = await aws(host, "sts", "get-caller-identity", "--query", "Account");
        assert.match(account, /^\d{12}$/);
        await aws(host, "s3api", "create-bucket", "--bucket", "kept");
        assert.deepEqual(await failedUnits(host), failedBefore, "installing it made nothing fail");
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
      await t.step("a guest starts", async () => {
        await Deno.copyFile(await tinyGuestImage(), join(host.root, "var/tmp/tiny.raw"));
        await host.run(
          "hive",
          "image",
          "import",
          "/var/tmp/tiny.raw",
          "--name",
          "tiny",
          "--format",
          "raw",
        );
        const image = await aws(host, "ec2", "describe-images", "--query", "Images[0].ImageId");
        guest = await aws(
          host,
          ...["ec2", "run-instances", "--image-id", image, "--instance-type", guestType],
          ...["--query", "Instances[0].InstanceId"],
        );
        await until(`${guest} to be up`, async () => {
          const { stdout } = await host.try("hive", "console", guest, "--no-attach");
          return stdout.includes(tinyGuestReady + guest) ? true : undefined;
        }, 1_800_000);
      });
      await t.step("an upgrade keeps everything, and the guest runs on", async () => {
        const before = await guests(host);
        assert.equal(before.length, 1);
        await install(second);
        await host.run("hive", "admin", "health", "--timeout", "120");
        assert.equal(await aws(host, "sts", "get-caller-identity", "--query", "Account"), account);
        assert.match(await aws(host, "s3api", "list-buckets"), /kept/);
        assert.deepEqual(await guests(host), before);
        assert.equal(await stateOf(guest), "running");
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
