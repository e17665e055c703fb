import assert from "node:assert/strict";
import { dirname, join } from "node:path";
import { readSeed } from "../../../services/cluster/seed.ts";
import { exists, hearWrites } from "../../init/write_file.ts";
import { type ApplianceTree as Box, applianceTree as box } from "./appliance_tree.ts";
import { firstBoot } from "./first_boot.ts";
import { networkFiles } from "./network_files.ts";
import { System } from "./system.ts";
import { updateTimerFiles } from "./update_timer.ts";
import { usedToken, wipeSecrets } from "./wipe_secrets.ts";

const examples = new URL("../../../cloud-init/", import.meta.url).pathname;

/** Every file of the tree with its content and inode: what a run has written again is seen. */
async function snapshot(root: string): Promise<Map<string, string>> {
  const found = new Map<string, string>();
  const walk = async (directory: string): Promise<void> => {
    for await (const entry of Deno.readDir(directory)) {
      const path = join(directory, entry.name);
      if (entry.isDirectory) await walk(path);
      else if (entry.isFile) found.set(path, `${(await Deno.stat(path)).ino}`);
    }
  };
  await walk(root);
  return found;
}

const claim = {
  version: 1,
  region: "eu-north-1",
  az: "eu-north-1b",
  hostname: "node7",
  admin: {
    access_key_id: "AKIACLAIMCLAIMCLAIM2",
    secret_access_key: "claim6789/0123456789+0123456789/0123456",
  },
  claimed_at: "2026-11-25T12:00:00Z",
};
claim.admin.secret_access_key += "7";

const seedWithAdmin = `# our first box
version: 1
hostname: node1   # as on the label
region: eu-north-1
admin:
  access_key_id: AKIAGIVENGIVENGIVEN2
  secret_access_key: 0123456789/0123456789+0123456789/0123456
cluster:
  token: a-long-secret-of-all
  nodes: 3
network:
  interfaces:
    - {name: enp1s0, addresses: [10.0.0.2/24], gateway: 10.0.0.1}
time: {servers: [10.0.0.1]}
ssh:
  keys: [ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIJ1kPNTG me]
update: {source: "https://updates.example/x", automatic: true}
`;

Deno.test("without a seed a box is unclaimed, keeps who it is, and has no node that could answer", async () => {
  await using one = await box();
  const first = await one.boot();
  assert.equal(first.state, "unclaimed");
  assert.deepEqual(await one.boot(), first);
  assert.ok(!await exists(one.paths.config));
  assert.ok(!await exists(one.paths.masterKey));
  for (const path of [one.paths.tls.ca, one.paths.tls.control.cert, one.paths.tls.control.key]) {
    assert.ok(await exists(path), path);
  }
  assert.match(await one.read("etc/hostname"), /^mulga-[0-9a-f]{6}\n$/);
  assert.match(await one.read("var/lib/mulga/units.env"), /MULGA_BIND=0\.0\.0\.0/);
});

Deno.test("a claim becomes the node that was promised, with the key that was handed out", async () => {
  await using one = await box();
  const before = await one.boot();
  await Deno.writeTextFile(one.files.claim, JSON.stringify(claim));
  const after = await one.boot();
  assert.equal(after.state, "made");
  const config = await one.config();
  assert.deepEqual([config.region, config.az, config.bind], [
    "eu-north-1",
    "eu-north-1b",
    "0.0.0.0",
  ]);
  assert.equal(config.node_id, before.state === "unclaimed" ? before.node_id : "");
  assert.deepEqual(await one.given(), claim.admin);
  assert.equal(await one.read("etc/hostname"), "node7\n");
  assert.ok(!await exists(one.files.claim) && !await exists(one.files.handover));
  assert.equal((await one.boot()).state, "completed");
  assert.equal(await one.read("etc/hostname"), "node7\n");
});

Deno.test("a claim that cannot be is dropped, and the box can be claimed anew", async () => {
  for (
    const bad of [
      "{",
      "null",
      "[]",
      JSON.stringify({ ...claim, version: 2 }),
      JSON.stringify({
        ...claim,
        hostname: "a/../b",
      }),
      JSON.stringify({ ...claim, admin: { access_key_id: "x" } }),
    ]
  ) {
    await using one = await box();
    await one.boot();
    await Deno.writeTextFile(one.files.claim, bad);
    assert.equal((await one.boot()).state, "unclaimed", bad);
    assert.ok(!await exists(one.files.claim));
    assert.match(one.said.join(), /claim it anew/);
  }
});

Deno.test("a seed on the boot partition is applied whole, once, and its secrets go from there", async () => {
  await using one = await box();
  await one.put("boot/mulga.yaml", seedWithAdmin);
  assert.equal((await one.boot()).state, "made");
  const config = await one.config();
  assert.deepEqual([config.region, config.az], ["eu-north-1", "eu-north-1a"]);
  assert.deepEqual(await one.given(), {
    access_key_id: "AKIAGIVENGIVENGIVEN2",
    secret_access_key: "0123456789/0123456789+0123456789/0123456",
  });
  assert.ok(!await exists(one.files.handover), "its owner has the key already");
  assert.equal(JSON.parse(await Deno.readTextFile(one.files.part)).token, "a-long-secret-of-all");
  assert.equal(await one.read("etc/hostname"), "node1\n");
  assert.match(await one.read("etc/systemd/network/50-mulga-0.network"), /Address=10\.0\.0\.2\/24/);
  assert.match(
    await one.read("etc/chrony/sources.d/mulga.sources"),
    /^server 10\.0\.0\.1 iburst$/m,
  );
  assert.match(await one.read("etc/ssh/mulga_authorized_keys"), /^ssh-ed25519 AAAA/m);
  assert.ok(await one.has("etc/systemd/system/multi-user.target.wants/ssh.service"));
  assert.equal(await one.read("etc/mulga/update-source"), "https://updates.example/x\n");

  const left = await one.read("boot/mulga.yaml");
  assert.match(left, /^# The secrets of this file were used/);
  assert.match(left, /# our first box/);
  assert.match(left, /hostname: node1 # as on the label/);
  assert.match(left, /ssh-ed25519 \S+ me/, "long lines stay lines");
  const kept = await one.read("var/lib/mulga/first-boot.json");
  for (const secret of ["0123456789/", "a-long-secret-of-all"]) {
    assert.ok(
      !left.includes(secret) && !kept.includes(secret) && !one.said.join().includes(secret),
    );
  }
  assert.ok(readSeed(new TextEncoder().encode(left), "left") !== undefined, "it is still a seed");

  // What is made anew at every start, by design.
  const derived = (path: string) => /nats\.conf$|units\.env$/.test(path);
  const before = await snapshot(one.root);
  assert.equal((await one.boot()).state, "completed");
  const after = await snapshot(one.root);
  assert.deepEqual([...after.keys()].sort(), [...before.keys()].sort());
  for (const [path, inode] of after) {
    if (!derived(path)) assert.equal(inode, before.get(path), `${path} was written again`);
  }
});

Deno.test("a seed without a key leaves one to be fetched, the one that identity gets", async () => {
  await using one = await box();
  await one.put("boot/mulga.yaml", "version: 1\n");
  assert.equal((await one.boot()).state, "made");
  const handover = JSON.parse(await Deno.readTextFile(one.files.handover));
  assert.deepEqual(await one.given(), handover.admin);
});

Deno.test("a seed that cannot be read is one sentence, and the box goes on with what it has", async () => {
  await using one = await box();
  await one.put("boot/mulga.yaml", "version: 1\nhostnam: a\n");
  assert.equal((await one.boot()).state, "unclaimed");
  const sentence =
    'mulga.yaml, line 2, column 1: the seed knows no "hostnam"; did you mean "hostname"?';
  assert.deepEqual(one.said, [sentence]);
  assert.equal(JSON.parse(await Deno.readTextFile(one.files.notice)).text, sentence);

  await one.put("boot/mulga.yaml", seedWithAdmin);
  assert.equal((await one.boot()).state, "made");
  assert.ok(!await exists(one.files.notice));
  const network = await one.read("etc/systemd/network/50-mulga-0.network");
  await one.put("boot/mulga.yaml", "\0\0\0");
  assert.equal((await one.boot()).state, "completed");
  assert.equal(await one.read("etc/systemd/network/50-mulga-0.network"), network);
  assert.match(JSON.parse(await Deno.readTextFile(one.files.notice)).text, /control character/);
});

Deno.test("a seed that this machine cannot be is one sentence, and leaves no half of a node", async () => {
  await using one = await box();
  await one.put("taken", "a file");
  await one.put("boot/mulga.yaml", `version: 1\nstorage: {blobs: [${one.root}/taken/blobs]}\n`);
  assert.equal((await one.boot()).state, "unclaimed");
  assert.match(one.said.join(), /^The directory \S+taken\/blobs cannot be made/);
  assert.ok(!await exists(one.paths.config));
  await Deno.remove(join(one.root, "taken"));
  assert.equal((await one.boot()).state, "made");
  assert.deepEqual((await one.config()).storage.blobs, [`${one.root}/taken/blobs`]);
});

Deno.test("a claim of a box whose seed cannot be is given back: nothing asks for the same over and over", async () => {
  await using one = await box();
  await one.put("taken", "a file");
  await one.put("boot/mulga.yaml", `version: 1\nstorage: {blobs: [${one.root}/taken/blobs]}\n`);
  assert.equal((await one.boot()).state, "unclaimed");
  await Deno.writeTextFile(one.files.claim, JSON.stringify(claim));
  assert.equal((await one.boot()).state, "unclaimed");
  // The file is what starts this step: left there, it would start it for ever.
  assert.ok(!await exists(one.files.claim));
  const said = JSON.parse(await Deno.readTextFile(one.files.notice)).text;
  assert.match(
    said,
    /^The directory \S+ cannot be made.* The claim was dropped; .* claim the box anew/,
  );
  await Deno.remove(join(one.root, "taken"));
  await Deno.writeTextFile(one.files.claim, JSON.stringify(claim));
  assert.equal((await one.boot()).state, "made");
  assert.deepEqual(await one.given(), claim.admin);
});

Deno.test("the first source that is there counts: boot partition, CIDATA, credential", async () => {
  await using one = await box();
  const named = (name: string) => `version: 1\nhostname: ${name}\n`;
  await one.put("run/credentials/@system/mulga.seed", named("by-credential"));
  assert.equal((await one.boot()).state, "made");
  assert.equal(await one.read("etc/hostname"), "by-credential\n");
  await one.put(
    "run/media/cidata/user-data",
    `#cloud-config\nmulga:\n  version: 1\n  hostname: by-user-data\n`,
  );
  await one.boot();
  assert.equal(await one.read("etc/hostname"), "by-user-data\n");
  await one.put("run/media/cidata/mulga.yaml", named("by-medium"));
  await one.boot();
  assert.equal(await one.read("etc/hostname"), "by-medium\n");
  await one.put("efi/mulga.yaml", named("by-card"));
  await one.boot();
  assert.equal(await one.read("etc/hostname"), "by-card\n");
  // Comments alone are no seed.
  await one.put("efi/mulga.yaml", "# version: 1\n");
  await one.boot();
  assert.equal(await one.read("etc/hostname"), "by-medium\n");
});

Deno.test("a node that is there takes from another seed what may change, and stays what it is", async () => {
  await using one = await box();
  await one.put("boot/mulga.yaml", seedWithAdmin);
  await one.boot();
  const config = await one.config();
  await one.put(
    "boot/mulga.yaml",
    `version: 1
hostname: node2
region: us-east-1
cluster: {token: another-secret-of-all, nodes: 5}
network: {interfaces: [{mac: "52:54:00:12:34:56", dhcp: true}]}
`,
  );
  assert.equal((await one.boot()).state, "completed");
  assert.deepEqual(await one.config(), config);
  assert.match(one.said.join(), /The seed's region, cluster count only when a node is made/);
  assert.equal(await one.read("etc/hostname"), "node2\n");
  assert.match(await one.read("etc/systemd/network/50-mulga-0.network"), /MACAddress=52:54:00/);
  for (
    const gone of [
      "etc/chrony/sources.d/mulga.sources",
      "etc/ssh/mulga_authorized_keys",
      "etc/ssh/sshd_config.d/50-mulga.conf",
      "etc/systemd/system/multi-user.target.wants/ssh.service",
      "etc/mulga/update-source",
      "etc/systemd/system/mulga-update.timer",
      "etc/systemd/system/timers.target.wants/mulga-update.timer",
    ]
  ) assert.ok(!await one.has(gone), gone);
  await one.put("boot/mulga.yaml", "version: 1\n");
  await one.boot();
  assert.deepEqual(await Array.fromAsync(Deno.readDir(join(one.root, "etc/systemd/network"))), []);
  assert.equal(await one.read("etc/hostname"), "node2\n", "a name stays until another is given");
});

Deno.test("the command sets a tree up, says what it did in one line, and refuses nothing for a bad seed", async () => {
  await using one = await box();
  const hive = async (...args: string[]) => {
    const { code, stdout, stderr } = await new Deno.Command(Deno.execPath(), {
      args: ["run", "-A", "--quiet", new URL("../../hive.ts", import.meta.url).pathname, ...args],
    }).output();
    const text = new TextDecoder();
    return { code, out: text.decode(stdout), error: text.decode(stderr) };
  };
  const boot = () => hive("admin", "first-boot", "--root", one.root);
  await one.put("boot/mulga.yaml", "version: 1\nregion: mars\n");
  const refused = await boot();
  assert.equal(refused.code, 0, refused.error);
  assert.match(refused.error, /^mulga\.yaml, line 2, column 9: "region" must be a region[^\n]*\n$/);
  assert.match(refused.out, /^Box n-[0-9a-f]{8} is not claimed yet/);
  await one.put("boot/mulga.yaml", "version: 1\nregion: eu-north-1\n");
  assert.match(
    (await boot()).out,
    /^Made node n-[0-9a-f]{8} of cluster c-\S+ in \S+ \(eu-north-1a\)\.\n$/,
  );
  assert.match((await boot()).out, /^Completed node/);
  const nothing = await hive("claim", "--data-dir", join(one.root, "none"));
  assert.equal(nothing.code, 1);
  assert.match(nothing.error, /^There is nothing to claim in/);
});

Deno.test("on somebody's Debian host nothing but the node is made", async () => {
  await using one = await box();
  await one.put("boot/mulga.yaml", seedWithAdmin);
  const outcome = await firstBoot({
    dataDir: one.paths.root,
    system: new System(one.root),
    appliance: false,
  });
  assert.equal(outcome.state, "made");
  assert.ok(!await one.has("etc"));
  assert.equal(await one.read("boot/mulga.yaml"), seedWithAdmin);
});

/** Runs `boot` and ends it after the n-th write. @returns whether it was that long */
async function cutAfter(one: Box, writes: number): Promise<boolean> {
  let count = 0;
  class PowerCut extends Error {}
  hearWrites(() => {
    // Whoever catches it gets no further either.
    if (++count >= writes) throw new PowerCut();
  });
  try {
    await one.boot();
    return false;
  } catch (error) {
    if (!(error instanceof PowerCut)) throw error;
    return true;
  } finally {
    hearWrites(undefined);
  }
}

const starts: readonly [
  name: string,
  prepare: (one: Box) => Promise<void>,
  check: (one: Box) => Promise<void>,
][] = [
  ["a seed with a key", (one) => one.put("boot/mulga.yaml", seedWithAdmin), async (one) => {
    assert.equal((await one.given()).access_key_id, "AKIAGIVENGIVENGIVEN2");
    assert.ok(!(await one.read("boot/mulga.yaml")).includes("0123456789/"));
    assert.equal(await one.read("etc/hostname"), "node1\n");
  }],
  ["a seed without a key", (one) => one.put("boot/mulga.yaml", "version: 1\n"), async (one) => {
    const { admin } = JSON.parse(await Deno.readTextFile(one.files.handover));
    assert.deepEqual(await one.given(), admin);
  }],
  ["a claim", async (one) => {
    await Deno.mkdir(dirname(one.files.claim), { recursive: true });
    await Deno.writeTextFile(one.files.claim, JSON.stringify(claim));
  }, async (one) => {
    assert.deepEqual(await one.given(), claim.admin);
    assert.equal((await one.config()).az, "eu-north-1b");
    assert.equal(await one.read("etc/hostname"), "node7\n");
    assert.ok(!await exists(one.files.claim));
  }],
];

for (const [name, prepare, check] of starts) {
  Deno.test(`${name}: cut off after any write, the next boot finishes the same node`, async () => {
    let cuts = 0;
    for (let writes = 1;; writes++) {
      await using one = await box();
      await prepare(one);
      if (!await cutAfter(one, writes)) break;
      cuts++;
      const complete = await one.boot();
      await check(one);
      const { config, paths } = complete.state === "unclaimed" ? assert.fail() : complete.node;
      assert.ok(config.node_id === JSON.parse(await Deno.readTextFile(one.files.box)).node_id);
      for (
        const path of [paths.masterKey, paths.natsConfig, paths.tls.cert, paths.nkey("cluster")]
      ) {
        assert.ok(await exists(path), `cut after write ${writes}: ${path}`);
      }
      for (const path of (await snapshot(one.root)).keys()) {
        assert.ok(!path.endsWith(".new"), `cut after write ${writes}: ${path}`);
      }
    }
    assert.ok(cuts > 15, `${cuts} cuts`);
  });
}

Deno.test("a seed's network is told to networkd: VLANs, fixed addresses, and the other ports off", () => {
  const seed = readSeed(Deno.readFileSync(join(examples, "mulga.yaml")), "mulga.yaml");
  const files = networkFiles(seed?.network);
  assert.deepEqual([...files.keys()], [
    "50-mulga-0.network",
    "50-mulga-vlan0.20.netdev",
    "50-mulga-vlan0.20.network",
    "50-mulga-vlan0.30.netdev",
    "50-mulga-vlan0.30.network",
    "50-mulga-1.network",
    "50-mulga-others.network",
  ]);
  const first = files.get("50-mulga-0.network") ?? "";
  for (
    const line of [
      "Name=enp1s0",
      "Kind=!*",
      "DHCP=no",
      "Address=192.168.10.11/24",
      "Gateway=192.168.10.1",
      "DNS=192.168.10.1",
      "MTUBytes=1500",
      "VLAN=vlan0.20",
      "VLAN=vlan0.30",
    ]
  ) assert.ok(first.split("\n").includes(line), line);
  assert.match(files.get("50-mulga-vlan0.20.netdev") ?? "", /Kind=vlan\n\n\[VLAN\]\nId=20/);
  assert.match(files.get("50-mulga-vlan0.30.network") ?? "", /DHCP=yes/);
  assert.match(files.get("50-mulga-others.network") ?? "", /Unmanaged=yes/);
  assert.equal(networkFiles(undefined).size, 0);
});

Deno.test("automatic updates are a timer that begins with the window and ends before it", () => {
  const source = "https://updates.example/";
  const files = updateTimerFiles({ source, automatic: true, window: "22:00-02:00" });
  const timer = files.get("/etc/systemd/system/mulga-update.timer") ?? "";
  assert.match(timer, /^OnCalendar=\*-\*-\* 22:00:00 UTC$/m);
  assert.match(timer, /^RandomizedDelaySec=3600$/m);
  const service = files.get("/etc/systemd/system/mulga-update.service") ?? "";
  assert.match(service, /^TimeoutStartSec=10800$/m);
  assert.equal(updateTimerFiles({ source }).size, 0);
  assert.equal(updateTimerFiles(undefined).size, 0);
});

Deno.test("secrets go from a seed's text and nothing else does", () => {
  const now = new Date("2026-11-25T00:00:00Z");
  const text = Deno.readTextFileSync(join(examples, "mulga.yaml"));
  const left = wipeSecrets(text, now) ?? "";
  assert.match(
    left,
    /^# The secrets of this file were used by this box and removed from it on 2026-11-25\.$/m,
  );
  const read = (of: string) => readSeed(new TextEncoder().encode(of), "mulga.yaml");
  const { admin: _, ...before } = read(text) ?? assert.fail();
  assert.deepEqual(read(left), { ...before, cluster: { ...before.cluster, token: usedToken } });
  assert.equal(wipeSecrets(left, now), undefined, "once");
  assert.equal(wipeSecrets("version: 1\n", now), undefined);
});
