import assert from "node:assert/strict";
import { join } from "node:path";
import { pathsOf } from "../../services/config/node_config.ts";
import { services } from "../../services/manifest.ts";
import { initNode } from "./init.ts";
import { applyOwnership, ownerships } from "./ownership.ts";

const paths = pathsOf("/var/lib/mulga");
const rows = ownerships(paths, []);
const rowOf = (path: string) => {
  const found = rows.find((row) => row.path === path);
  assert.ok(found !== undefined, path);
  return found;
};
const userOf = (name: string) => services.find((service) => service.name === name)?.user;

/** Who may read a path by its mode: owner, group, or everybody. */
const readers = (path: string) => {
  const { owner, group, mode } = rowOf(path);
  return [
    ...((mode & 0o400) !== 0 ? [owner] : []),
    ...((mode & 0o040) !== 0 ? [group] : []),
    ...((mode & 0o004) !== 0 ? ["everybody"] : []),
  ];
};

Deno.test("a secret has exactly the readers that need it", () => {
  for (const service of services.filter(({ name }) => name !== "nats")) {
    assert.deepEqual(readers(paths.nkey(service.name)), [service.user]);
  }
  assert.deepEqual(readers(paths.nkey("operator")), ["root"]);
  assert.deepEqual(readers(paths.masterKey), [userOf("identity")]);
  assert.deepEqual(readers(paths.objectKeys), [userOf("predastore")]);
  assert.deepEqual(readers(paths.volumeKeys), [userOf("viperblock")]);
  assert.deepEqual(readers(paths.tls.caKey), ["root"]);
  assert.deepEqual(readers(paths.tls.key), [userOf("gateway"), userOf("predastore")]);
});

Deno.test("a socket is reached by who listens and who connects, and by nobody else", () => {
  const reach = (socket: string) => {
    const { owner, group, mode } = rowOf(join(socket, ".."));
    assert.equal(mode, 0o2750);
    return [owner, group];
  };
  assert.deepEqual(reach(paths.s3Front), [userOf("predastore"), userOf("gateway")]);
  assert.deepEqual(reach(paths.s3Delegate), [userOf("predastore"), userOf("compute")]);
  assert.deepEqual(reach(paths.s3System), [userOf("predastore"), userOf("viperblock")]);
  assert.deepEqual(reach(paths.nbd("vol-1")), [userOf("viperblock"), userOf("compute")]);
  assert.deepEqual(reach(paths.imds("i-1")), [userOf("metadata"), userOf("compute")]);
  assert.deepEqual(reach(paths.qmp("i-1")), [userOf("compute"), userOf("compute")]);
  // Nobody is in another's group, so a directory's group is that one user.
  for (const service of services) {
    for (const group of service.groups) {
      assert.ok(!services.some((other) => other.user === group), `${service.name}: ${group}`);
    }
  }
});

Deno.test("no path has two owners", () => {
  assert.equal(new Set(rows.map((row) => row.path)).size, rows.length);
});

Deno.test({
  name: "a node is given to its users, again after root made files anew, and what others own stays",
  // Only root gives files away.
  ignore: Deno.uid() !== 0,
  async fn() {
    const directory = await Deno.makeTempDir({ prefix: "mulga-ownership-" });
    try {
      const { config, paths } = await initNode(directory, { ports: { auto: true } });
      let number = 60_000;
      const accounts = {
        users: new Map([
          ["root", 0],
          ...services.map((one): [string, number] => [
            one.user,
            ++number,
          ]),
        ]),
        groups: new Map([["root", 0], ["mulga", 61_000]]),
      };
      for (const [name, id] of accounts.users) accounts.groups.set(name, id);
      const check = async () => {
        for (const row of ownerships(paths, config.storage.blobs)) {
          const found = await Deno.lstat(row.path).catch(() => undefined);
          if (found === undefined) continue;
          assert.equal(found.uid, accounts.users.get(row.owner), row.path);
          assert.equal(found.gid, accounts.groups.get(row.group), row.path);
          assert.equal((found.mode ?? 0) & 0o7777, row.mode, row.path);
        }
      };
      await applyOwnership(config, paths, accounts);
      await check();
      // What a start of root makes anew, and what another program put in between.
      await initNode(directory, { profile: "other" });
      const late = join(paths.service("identity"), "late.json");
      await Deno.writeTextFile(late, "{}");
      await Deno.symlink("/etc/passwd", join(paths.service("compute"), "link"));
      const before = await Deno.stat("/etc/passwd");
      await applyOwnership(config, paths, accounts);
      await check();
      assert.equal((await Deno.stat(late)).uid, accounts.users.get(userOf("identity") ?? ""));
      assert.equal((await Deno.stat("/etc/passwd")).uid, before.uid);
    } finally {
      await Deno.remove(directory, { recursive: true });
    }
  },
});

Deno.test("a system without the users is told so, and nothing is changed", async () => {
  const nobody = { users: new Map([["root", 0]]), groups: new Map([["root", 0]]) };
  await assert.rejects(
    applyOwnership(undefined, paths, nobody),
    /no group mulga; .*systemd-sysusers/,
  );
});
