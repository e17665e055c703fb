import assert from "node:assert/strict";
import type { NodeConfig } from "../../services/config/node_config.ts";
import { services } from "../../services/manifest.ts";
import {
  fillTemplate,
  permissionFlags,
  serviceCommand,
  templateValues,
} from "./service_command.ts";

const config = {
  data_dir: "/srv/cloud",
  bind: "127.0.0.1",
  ports: { gateway: 9999, s3: 9002, nats: 4222 },
} as NodeConfig;
const context = { config, repository: "/repo" };
const values = templateValues(context);

Deno.test("permissions become exactly their flags, and what is absent is not granted", () => {
  assert.deepEqual(
    permissionFlags({
      net: ["{bind}:{gateway}", "127.0.0.1:{nats}"],
      read: ["{data}/tls", "{repo}/services"],
      write: [],
      env: ["MULGA_DATA_DIR"],
    }, values),
    [
      "--allow-net=127.0.0.1:9999,127.0.0.1:4222",
      "--allow-read=/srv/cloud/tls,/repo/services",
      "--allow-env=MULGA_DATA_DIR",
    ],
  );
  assert.deepEqual(permissionFlags({}, values), []);
  assert.deepEqual(permissionFlags({ net: "any", read: ["any"], ffi: true }, values), [
    "--allow-net",
    "--allow-read",
    "--allow-ffi",
  ]);
});

Deno.test("a comma in a path does not grant a second path", () => {
  const odd = templateValues({
    config: { ...config, data_dir: "/srv/a,/etc" },
    repository: "/repo",
  });
  assert.deepEqual(permissionFlags({ read: ["{data}/x"] }, odd), ["--allow-read=/srv/a,,/etc/x"]);
});

Deno.test("a template that nobody knows is an error, not an empty word", () => {
  assert.throws(() => fillTemplate("{home}/x", values), RangeError);
});

Deno.test("an IPv6 address is bracketed before its port", () => {
  const six = templateValues({ config: { ...config, bind: "::1" }, repository: "/repo" });
  assert.equal(fillTemplate("{bind}:{s3}", six), "[::1]:9002");
});

Deno.test("no service runs with all permissions or asks on a terminal, and all get the data directory", () => {
  for (const spec of services) {
    const { args, env, program } = serviceCommand(spec, context);
    assert.equal(env["MULGA_DATA_DIR"], "/srv/cloud");
    if (typeof spec.entry !== "string") {
      assert.equal(program, "/srv/cloud/bin/nats-server");
      continue;
    }
    assert.ok(!args.includes("-A") && !args.includes("--allow-all"), spec.name);
    for (const flag of ["--cached-only", "--no-prompt"]) assert.ok(args.includes(flag), spec.name);
    assert.equal(args.at(-1), `/repo/${spec.entry}`);
  }
});

Deno.test("new objects of a service take no more than the table gives them", async () => {
  const predastore = services.find(({ name }) => name === "predastore");
  assert.ok(predastore?.new_space_mib !== undefined);
  const flag = serviceCommand(predastore, context).args.find((one) => one.startsWith("--v8-flags"));
  const makesGarbage = `import { getHeapSpaceStatistics } from "node:v8";
    const spaces = [];
    for (let round = 0, kept = []; round < 100; round++) {
      kept = Array.from({ length: 10_000 }, (_, i) => [i]);
      spaces.push(getHeapSpaceStatistics().find((one) => one.space_name === "new_space").space_size);
    }
    console.log(Math.max(...spaces));`;
  const newSpace = async (flags: string[]) => {
    const { stdout } = await new Deno.Command(Deno.execPath(), {
      args: ["eval", "--ext=js", ...flags, makesGarbage],
    }).output();
    return Number(new TextDecoder().decode(stdout)) / (1 << 20);
  };
  const most = 2 * predastore.new_space_mib;
  assert.equal(await newSpace([flag ?? ""]), most);
  assert.ok(await newSpace([]) > most);
});

Deno.test("the C library of a service that moves data copies without `rep movsb`, however long", {
  ignore: Deno.build.arch !== "x86_64",
}, async () => {
  for (const spec of services) {
    const { env } = serviceCommand(spec, context);
    const { stdout } = await new Deno.Command("/lib64/ld-linux-x86-64.so.2", {
      args: ["--list-tunables"],
      env,
      clearEnv: true,
    }).output();
    const told = new TextDecoder().decode(stdout);
    const threshold = Number(/x86_rep_movsb_threshold: (0x[0-9a-f]+)/.exec(told)?.[1]);
    assert.equal(threshold >= 2 ** 30, spec.movesData === true, `${spec.name}: ${threshold}`);
  }
});

Deno.test("a service really may only what its flags say", async () => {
  const directory = await Deno.makeTempDir();
  try {
    await Deno.writeTextFile(`${directory}/allowed.txt`, "yes");
    await Deno.writeTextFile(`${directory}/secret.txt`, "no");
    const flags = permissionFlags(
      { read: ["{data}/allowed.txt"] },
      templateValues({ config: { ...config, data_dir: directory }, repository: "/repo" }),
    );
    const script = `${directory}/reader.ts`;
    await Deno.writeTextFile(script, "Deno.readTextFileSync(Deno.args[0] ?? '');");
    const runs = async (name: string) =>
      (await new Deno.Command(Deno.execPath(), {
        args: ["run", "--no-prompt", "--quiet", ...flags, script, `${directory}/${name}`],
        stdout: "null",
        stderr: "null",
      }).output()).code;
    assert.equal(await runs("allowed.txt"), 0);
    assert.notEqual(await runs("secret.txt"), 0);
  } finally {
    await Deno.remove(directory, { recursive: true });
  }
});
