import assert from "node:assert/strict";
import { join } from "node:path";
import { type NodeConfig, pathsOf } from "../../services/config/node_config.ts";
import { CommandError } from "../terminal/command.ts";
import {
  removeUserProfile,
  userHasProfile,
  withoutSection,
  withSection,
  writeUserProfile,
} from "./aws_profile.ts";

const config = {
  node_id: "n-1",
  region: "ap-southeast-2",
  bind: "127.0.0.1",
  profile: "mulga",
  ports: { gateway: 9999, s3: 9002, nats: 4222 },
} as NodeConfig;
const paths = pathsOf("/srv/cloud");
const credentials = {
  account_id: "123456789012",
  access_key_id: "AKIAEXAMPLE",
  secret_access_key: "secret",
};

const theirs = `# my settings
[default]
region = us-east-1

[profile work]
region = eu-west-1
s3 =
  max_concurrent_requests = 20
# about the last one
[profile last]
output = text
`;

async function temporary(work: (files: { config: string; credentials: string }) => Promise<void>) {
  const directory = await Deno.makeTempDir();
  try {
    const folder = join(directory, "aws");
    await work({ config: join(folder, "config"), credentials: join(folder, "credentials") });
  } finally {
    await Deno.remove(directory, { recursive: true });
  }
}

Deno.test("the user's other profiles stay byte for byte, through writing, renewing and removing", async () => {
  await temporary(async (files) => {
    Deno.mkdirSync(join(files.config, ".."));
    Deno.writeTextFileSync(files.config, theirs, { mode: 0o640 });
    await writeUserProfile(config, paths, credentials, files);
    const written = Deno.readTextFileSync(files.config);
    assert.ok(written.startsWith(theirs));
    assert.match(written, /\[profile mulga\]\n# .*n-1.*\nregion = ap-southeast-2\n/);
    assert.match(written, /endpoint_url = https:\/\/localhost:9999\n/);
    assert.match(written, /ca_bundle = \/srv\/cloud\/tls\/ca\.crt\n/);
    assert.equal((Deno.statSync(files.config).mode ?? 0) & 0o777, 0o640);
    assert.equal((Deno.statSync(files.credentials).mode ?? 0) & 0o777, 0o600);

    // A profile that the user adds behind ours, and a comment of theirs, survive a renewal.
    Deno.writeTextFileSync(files.config, `${written}\n# mine\n[profile after]\nregion = x\n`);
    const moved = { ...config, ports: { ...config.ports, gateway: 8888 } };
    await writeUserProfile(moved, paths, credentials, files);
    const renewed = Deno.readTextFileSync(files.config);
    assert.ok(renewed.startsWith(theirs));
    assert.match(renewed, /localhost:8888/);
    assert.doesNotMatch(renewed, /localhost:9999/);
    assert.ok(renewed.endsWith("\n\n# mine\n[profile after]\nregion = x\n"));
    assert.equal(await userHasProfile(config, files), true);

    await removeUserProfile(config, files);
    assert.equal(
      Deno.readTextFileSync(files.config).replace("\n# mine\n[profile after]\nregion = x\n", ""),
      theirs,
    );
    assert.doesNotMatch(Deno.readTextFileSync(files.credentials), /AKIAEXAMPLE/);
  });
});

Deno.test("a profile of that name that is not this node's is left alone, with a way out", async () => {
  await temporary(async (files) => {
    Deno.mkdirSync(join(files.config, ".."));
    const own = "[profile mulga]\nregion = mars\n";
    Deno.writeTextFileSync(files.config, own);
    await assert.rejects(writeUserProfile(config, paths, credentials, files), (error: Error) => {
      assert.ok(error instanceof CommandError);
      assert.match(error.message, /--profile NAME/);
      return true;
    });
    assert.equal(Deno.readTextFileSync(files.config), own);
    assert.throws(() => Deno.statSync(files.credentials), Deno.errors.NotFound);
    await removeUserProfile(config, files);
    assert.equal(Deno.readTextFileSync(files.config), own);
  });
});

Deno.test("a file that is a link elsewhere stays a link", async () => {
  await temporary(async (files) => {
    Deno.mkdirSync(join(files.config, ".."));
    const real = `${files.config}.real`;
    Deno.writeTextFileSync(real, "[default]\nregion = x\n");
    Deno.symlinkSync(real, files.config);
    await writeUserProfile(config, paths, credentials, files);
    assert.ok(Deno.lstatSync(files.config).isSymlink);
    assert.match(Deno.readTextFileSync(real), /\[profile mulga\]/);
  });
});

Deno.test("a section put in and taken out leaves what was there, for many texts", () => {
  const pieces = ["[a]\nx = 1\n", "\n# c\n", "[profile b]\ny =\n  z = 2\n", "[c] # d\n"];
  for (let choice = 0; choice < 2 ** pieces.length; choice++) {
    const text = pieces.filter((_, at) => choice & 1 << at).join("");
    const put = withSection(text, "profile ours", "# mark", ["k = v"]);
    assert.equal(withSection(put, "profile ours", "# mark", ["k = v"]), put, "twice is once");
    assert.equal(
      withoutSection(put, "profile ours", "# mark").trim(),
      text.trim(),
      JSON.stringify(text),
    );
  }
});
