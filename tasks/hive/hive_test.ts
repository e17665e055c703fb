import assert from "node:assert/strict";
import { type NodeConfig, pathsOf } from "../../services/config/node_config.ts";
import { repository } from "../stack/repository.ts";
import { sshCommand } from "./access.ts";
import { environmentOf, shellExports } from "./environment.ts";
import { formatOf } from "./image.ts";

const access = { instance_id: "i-0123456789abcdef0", ssh_port: 41_000, console_log: "/x" };

async function hive(...args: string[]) {
  const { code, stdout, stderr } = await new Deno.Command(Deno.execPath(), {
    args: ["run", "-A", `${repository}/tasks/hive.ts`, ...args],
    env: { MULGA_DATA_DIR: "/nonexistent/node", NO_COLOR: "1" },
    stdout: "piped",
    stderr: "piped",
  }).output();
  const decoder = new TextDecoder();
  return { code, stdout: decoder.decode(stdout), stderr: decoder.decode(stderr) };
}

Deno.test("ssh gets the port, the instance's own host key name, and everything of the caller", () => {
  const command = sshCommand(access, "/known", ["-i", "key.pem", "-v"], ["uname", "-a"]);
  assert.equal(command[0], "ssh");
  assert.deepEqual(
    command.slice(-7),
    ["-l", "debian", "-i", "key.pem", "-v", "127.0.0.1", "uname"]
      .toSpliced(0, 1).concat("-a").slice(-7),
  );
  assert.ok(command.includes("HostKeyAlias=i-0123456789abcdef0"));
  assert.ok(command.includes("41000"));
  const named = sshCommand(access, "/known", ["-l", "admin"], []);
  assert.ok(!named.includes("debian"));
  const { ssh_port: _, ...stopped } = access;
  assert.throws(() => sshCommand(stopped, "/known", [], []), /not running/);
});

Deno.test("the exports survive a shell whatever the paths hold", async () => {
  const node = {
    config: {
      profile: "mulga",
      region: "eu-north-1",
      bind: "127.0.0.1",
      ports: { gateway: 9999, s3: 9002, nats: 4222 },
    } as NodeConfig,
    paths: pathsOf("/srv/it's $HOME `x`"),
  };
  const exports = shellExports(environmentOf(node));
  const { stdout } = await new Deno.Command("sh", {
    args: [
      "-c",
      `${exports}\nprintf %s "$AWS_CA_BUNDLE $AWS_ENDPOINT_URL \${AWS_ACCESS_KEY_ID-unset}"`,
    ],
    env: { AWS_ACCESS_KEY_ID: "other" },
    stdout: "piped",
  }).output();
  assert.equal(
    new TextDecoder().decode(stdout),
    "/srv/it's $HOME `x`/tls/ca.crt https://localhost:9999 unset",
  );
});

Deno.test("a disk image's format is told by its first bytes", async () => {
  const path = await Deno.makeTempFile();
  try {
    const is = async (head: string) => {
      await Deno.writeFile(path, Uint8Array.from(head, (letter) => letter.charCodeAt(0)));
      return await formatOf(path);
    };
    assert.equal(await is("QFI\xfb rest"), "qcow2");
    assert.equal(await is("KDMV rest"), "vmdk");
    assert.equal(await is("\x00\x00"), "raw");
    assert.equal(await is(""), "raw");
  } finally {
    await Deno.remove(path);
  }
});

Deno.test("a file that is named as an image and is none is refused", async () => {
  const path = await Deno.makeTempFile({ suffix: ".qcow2" });
  try {
    await Deno.writeTextFile(path, "no image");
    await assert.rejects(formatOf(path), /named as a qcow2 image and is none/);
  } finally {
    await Deno.remove(path);
  }
});

Deno.test("a node that is somebody else's is told with what to do, not as a fault", async () => {
  const directory = await Deno.makeTempDir({ prefix: "mulga-theirs-" });
  const data = `${directory}/data`;
  try {
    await Deno.mkdir(data);
    await Deno.writeTextFile(`${data}/config.json`, "{}", { mode: 0 });
    const asRoot = Deno.uid() === 0;
    if (asRoot) await Deno.chown(data, 65_534, 65_534);
    if (asRoot) await Deno.chown(`${data}/config.json`, 65_534, 65_534);
    // Root reads everything unless it may not.
    const less = asRoot ? ["setpriv", "--bounding-set=-dac_override,-dac_read_search"] : [];
    for (const mode of [0o000, 0o711]) {
      await Deno.chmod(data, mode);
      for (const words of [["status"], ["env"], ["backup", "/x"], ["restore", "/x"], ["doctor"]]) {
        const [program = "", ...args] = [...less, Deno.execPath(), "run", "-A"];
        const { code, stderr } = await new Deno.Command(program, {
          args: [...args, `${repository}/tasks/hive.ts`, ...words, "--data-dir", data],
        }).output();
        const said = new TextDecoder().decode(stderr);
        assert.equal(code, 1, `${words}: ${said}`);
        assert.match(said, /Run this with sudo/, words.join(" "));
        assert.doesNotMatch(said, /fault of MulgaOS/);
      }
    }
  } finally {
    await Deno.chmod(data, 0o700);
    await Deno.remove(directory, { recursive: true });
  }
});

Deno.test("what hive does not understand is one sentence and exit code 2; no node is exit code 1 or 3", async () => {
  for (
    const [args, code, said] of [
      [["frobnicate"], 2, /does not know "frobnicate"/],
      [["status", "--bogus"], 2, /Unknown option '--bogus'/],
      [["console", "x"], 2, /no instance id/],
      [["ssh", "i-0123456789abcdef0"], 1, /no node in/],
      [["env"], 1, /no node in/],
    ] as const
  ) {
    const ran = await hive(...args);
    assert.equal(ran.code, code, args.join(" ") + ran.stderr);
    assert.match(ran.stderr, said);
    assert.equal(ran.stderr.trim().split("\n").length, 1, ran.stderr);
  }
  assert.equal((await hive("status")).code, 3);
  assert.match((await hive("image", "--help")).stdout, /image build/);
});
