import assert from "node:assert/strict";
import { dirname, join } from "node:path";
import { services, type ServiceSpec } from "../../services/manifest.ts";
import { quickCopies } from "../../tasks/supervisor/service_command.ts";
import { sysusers } from "./accounts.ts";
import { layout, natsServer } from "./layout.ts";
import { allUnits, serviceUnit, unitName } from "./units.ts";

const ours = services.filter((service) => typeof service.entry === "string");
const textOf = (service: ServiceSpec) => serviceUnit(service).split("\n");
const valueOf = (lines: readonly string[], key: string) =>
  lines.filter((line) => line.startsWith(`${key}=`)).map((line) => line.slice(key.length + 1));

function named(name: string): string[] {
  const found = services.find((service) => service.name === name);
  assert.ok(found !== undefined);
  return textOf(found);
}

Deno.test("every service runs as a user of its own, which sysusers makes with its groups", () => {
  const accounts = sysusers(services);
  assert.equal(new Set(services.map((service) => service.user)).size, services.length);
  for (const service of services) {
    const lines = textOf(service);
    assert.deepEqual(valueOf(lines, "User"), [service.user]);
    assert.deepEqual(valueOf(lines, "Group"), [service.user]);
    assert.match(accounts, new RegExp(`^u ${service.user} `, "m"));
    for (const group of service.groups) {
      assert.match(accounts, new RegExp(`^m ${service.user} ${group}$`, "m"));
    }
  }
});

Deno.test("a unit grants what the table grants, and beyond it only to speak to systemd", () => {
  for (const service of ours) {
    const [command] = valueOf(textOf(service), "ExecStart");
    const words = command?.split(" ") ?? [];
    assert.equal(words[0], layout.deno);
    assert.ok(!words.includes("-A") && !words.includes("--allow-all"), service.name);
    for (const right of ["run", "sys"] as const) {
      const granted = words.find((word) => word.startsWith(`--allow-${right}`));
      const wanted = service.permissions[right] ?? [];
      assert.equal(
        granted,
        wanted.length === 0 ? undefined : `--allow-${right}=${wanted.join(",")}`,
        service.name,
      );
    }
    assert.equal(words.includes("--allow-ffi"), service.permissions.ffi === true, service.name);
    const write = words.find((word) => word.startsWith("--allow-write"));
    if (service.permissions.write?.includes("any") === true) assert.equal(write, "--allow-write");
    else {
      assert.deepEqual(
        write?.split("=")[1]?.split(","),
        [
          ...(service.permissions.write ?? []).map((one) => one.replace("{data}", layout.data)),
          `/run/mulga/${service.name}/notify`,
          "/run/systemd/notify",
        ],
      );
    }
  }
});

Deno.test("services start in the order of the table, and none ends because another does", () => {
  for (const service of services) {
    const lines = textOf(service);
    const after = valueOf(lines, "After").join(" ").split(" ");
    for (const need of service.after) assert.ok(after.includes(unitName(need)), service.name);
    assert.deepEqual(valueOf(lines, "Requires"), ["mulga-first-boot.service"]);
    assert.deepEqual(valueOf(lines, "Restart"), ["always"]);
  }
});

Deno.test("who moves data copies as the supervisor lets it, others keep little", () => {
  for (const service of services) {
    const environment = valueOf(textOf(service), "Environment").join(" ").split(" ");
    const moves = service.movesData === true;
    for (const [name, value] of Object.entries(quickCopies)) {
      assert.equal(environment.includes(`${name}=${value}`), moves, service.name);
    }
    assert.equal(environment.includes("MALLOC_ARENA_MAX=1"), !moves, service.name);
  }
});

Deno.test("only who starts guests sees /dev/kvm, and its guests outlive its restart", () => {
  for (const service of services) {
    const lines = textOf(service);
    const guests = service.name === "compute";
    assert.equal(valueOf(lines, "DeviceAllow").includes("/dev/kvm rw"), guests, service.name);
    assert.equal(valueOf(lines, "PrivateDevices").includes("yes"), !guests, service.name);
    assert.equal(valueOf(lines, "KillMode").includes("process"), guests, service.name);
  }
});

Deno.test("a service writes its own directories and nobody else's", () => {
  const owned = (name: string) => new Set(valueOf(named(name), "ReadWritePaths").join().split(" "));
  for (const one of services) {
    for (const other of services) {
      if (one === other) continue;
      const shared = [...owned(one.name)].filter((path) => owned(other.name).has(path));
      assert.deepEqual(shared, [], `${one.name} and ${other.name}`);
    }
  }
  assert.ok(owned("viperblock").has("/var/lib/mulga/run/volumes"));
  assert.ok(!owned("gateway").has("/var/lib/mulga/run/s3-system"));
});

Deno.test("who has no door to the outside reaches the loopback only", () => {
  const open = services
    .filter((service) => !textOf(service).includes("IPAddressDeny=any"))
    .map((service) => service.name);
  assert.deepEqual(open, ["predastore", "gateway", "cluster"]);
});

/** The units in a tree of their own, with something to start at every path that they name. */
async function tree(): Promise<{ root: string } & AsyncDisposable> {
  const root = await Deno.makeTempDir({ prefix: "mulga-units-" });
  const put = async (path: string, text: string, mode: number) => {
    const file = join(root, path);
    await Deno.mkdir(dirname(file), { recursive: true });
    await Deno.writeTextFile(file, text);
    await Deno.chmod(file, mode);
  };
  const programs = [layout.deno, layout.hive, natsServer, "/bin/true", "/usr/bin/tee"];
  for (const path of [...programs, "/usr/bin/systemd-sysusers", "/usr/bin/systemd-tmpfiles"]) {
    await put(path, "#!/bin/sh\n", 0o755);
  }
  for (const [name, text] of Object.entries(allUnits(services))) {
    await put(`${layout.units}/${name}`, text, 0o644);
  }
  const others = ["sysinit", "basic", "shutdown", "multi-user", "network-online", "boot-complete"];
  for (const name of [...others, "sockets", "paths"]) {
    await put(`${layout.units}/${name}.target`, "[Unit]\nDescription=Its own\n", 0o644);
  }
  return { root, [Symbol.asyncDispose]: () => Deno.remove(root, { recursive: true }) };
}

async function analyze(...args: readonly string[]): Promise<{ code: number; text: string }> {
  const { code, stdout, stderr } = await new Deno.Command("systemd-analyze", {
    args: [...args],
    env: { LC_ALL: "C", SYSTEMD_COLORS: "0" },
  }).output();
  const decoder = new TextDecoder();
  return { code, text: decoder.decode(stdout) + decoder.decode(stderr) };
}

Deno.test("systemd finds nothing to say about the units", async () => {
  await using made = await tree();
  const names = Object.keys(allUnits(services));
  const verify = async (...units: readonly string[]) => {
    const { text } = await analyze(
      "verify",
      `--root=${made.root}`,
      "--man=no",
      ...units.map((name) => `${layout.units}/${name}`),
    );
    return text.split("\n").filter((line) => units.some((name) => line.includes(name)))
      // Debian 12's systemd does not know them yet and goes on without.
      .filter((line) => !/Unknown key.*'Restart(Steps|MaxDelaySec)'/.test(line));
  };
  assert.deepEqual(await verify(...names), []);
  // It does look: a setting that there is not is told.
  const wrong = "mulga-wrong.service";
  const text = serviceUnit(ours[0] as ServiceSpec).replace("NoNewPrivileges", "NoNewPrivilege");
  await Deno.writeTextFile(join(made.root, layout.units, wrong), text);
  assert.match((await verify(wrong)).join("\n"), /Unknown key.*NoNewPrivilege/);
});

Deno.test("systemd scores every service's exposure as low", async () => {
  await using made = await tree();
  for (const service of services) {
    const { text } = await analyze(
      "security",
      "--offline=true",
      `--root=${made.root}`,
      "--no-pager",
      unitName(service.name),
    );
    const score = Number(/Overall exposure level for \S+: ([\d.]+)/.exec(text)?.[1]);
    console.log(`${service.name}: ${score}`);
    assert.ok(score <= 2, `${service.name}: ${score}`);
  }
});

Deno.test("what comes before all services does not wait for one of them", () => {
  for (const [name, text] of Object.entries(allUnits(services))) {
    if (!/\.(path|socket|timer)$/.test(name)) continue;
    const afterService = /^After=.*\.service\b/m.test(text);
    assert.ok(!afterService || text.includes("DefaultDependencies=no"), name);
  }
});
