import assert from "node:assert/strict";
import { services } from "../../services/manifest.ts";
import { control, debianVersion, depends, recommends } from "./control.ts";
import { maintainerScripts } from "./maintainer_scripts.ts";

Deno.test("the package asks for what serving needs, in the names of both releases", () => {
  const asked = depends("amd64");
  assert.ok(asked.includes("qemu-system-x86 (>= 1:10)"));
  assert.ok(asked.includes("libssl3t64 | libssl3"));
  assert.ok(asked.includes("ovmf") && !asked.some((one) => one.startsWith("qemu-system-arm")));
  // What only builds guest images has no place on a server.
  assert.ok(!asked.some((one) => /mkosi|systemd-repart|uidmap/.test(one)));
  assert.ok(depends("arm64").includes("qemu-efi-aarch64"));
});

Deno.test("what only one release has, and serving does without, is recommended and not asked for", () => {
  assert.ok(!depends("amd64").some((one) => one.includes("libipsec-mb1")));
  assert.ok(recommends("amd64").includes("libipsec-mb1"));
  assert.deepEqual(recommends("arm64"), ["openssh-client"]);
});

Deno.test("a version before a release sorts before it", () => {
  assert.equal(debianVersion("1.2.3-rc.1"), "1.2.3~rc.1");
  const text = control({ version: "1.2.3-rc.1", architecture: "arm64", installed_kib: 1 });
  assert.match(text, /^Version: 1\.2\.3~rc\.1$/m);
});

Deno.test("maintainer scripts are a shell's, and only a purge takes data", async () => {
  const scripts = maintainerScripts(services);
  for (const [name, text] of Object.entries(scripts)) {
    const child = new Deno.Command("sh", { args: ["-n"], stdin: "piped", stderr: "piped" }).spawn();
    const writer = child.stdin.getWriter();
    await writer.write(new TextEncoder().encode(text));
    await writer.close();
    const { code, stderr } = await child.output();
    assert.equal(code, 0, `${name}: ${new TextDecoder().decode(stderr)}`);
  }
  assert.doesNotMatch(scripts.postinst + scripts.prerm, /rm -r/);
  const purge = scripts.postrm.slice(scripts.postrm.indexOf('"$1" = purge'));
  assert.match(purge, /rm -rf \/var\/lib\/mulga \/var\/cache\/mulga/);
  assert.equal(scripts.postrm.split("rm -rf").length, 2);
});

Deno.test("removing stops every unit", () => {
  const { prerm } = maintainerScripts(services);
  for (const { name } of services) assert.match(prerm, new RegExp(`mulga-${name}\\.service`));
});
