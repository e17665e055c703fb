import assert from "node:assert/strict";
import { pathsOf } from "../config/node_config.ts";
import { isAccessKey } from "../identity/contract.ts";
import { createLog } from "../log/log.ts";
import { Allowance } from "./allowance.ts";
import { type ClaimCode, openClaimCode } from "./claim_code.ts";
import { BoxDesk, type ClaimDesk, KeyDesk, newAdminKey } from "./claim_desk.ts";
import { type ClaimFiles, claimFiles } from "./claim_files.ts";
import { controlApp } from "./control.ts";
import { Screen, screenText } from "./screen.ts";

interface Box extends AsyncDisposable {
  readonly directory: string;
  readonly files: ClaimFiles;
  readonly code: ClaimCode;
  readonly lines: string[];
  readonly log: ReturnType<typeof createLog>;
}

async function newBox(): Promise<Box> {
  const directory = await Deno.makeTempDir({ prefix: "mulga-claim-" });
  const paths = pathsOf(directory);
  await Deno.mkdir(paths.service("cluster"));
  const files = claimFiles(paths);
  const lines: string[] = [];
  return {
    directory,
    files,
    code: await openClaimCode(files.code),
    lines,
    log: createLog("test", { write: (line) => lines.push(line) }),
    [Symbol.asyncDispose]: () => Deno.remove(directory, { recursive: true }),
  };
}

const node = { node_id: "n-1", region: "eu-north-1", az: "eu-north-1a" };
const read = (path: string) => JSON.parse(Deno.readTextFileSync(path));

function appOf(box: Box, desk: ClaimDesk | undefined) {
  const app = controlApp({
    log: box.log,
    desk,
    caCertificate: "-----BEGIN CERTIFICATE-----\n",
    ports: { gateway: 9999, s3: 9002 },
    describe: () => ({
      node_id: "n-1",
      cluster_id: "",
      version: "0.1.0",
      state: "unclaimed",
      host: "box<b>",
    }),
  });
  const post = async (
    body: string,
    type = "application/x-www-form-urlencoded",
    from = "10.0.0.9",
  ) => {
    const reply = await app.request("https://192.168.1.5:8443/claim", {
      method: "POST",
      body,
      headers: { "content-type": type },
    }, { from });
    return { status: reply.status, said: await reply.json() };
  };
  return { app, post };
}

Deno.test("the code is kept over a restart, and is read as people type it", async () => {
  await using box = await newBox();
  assert.match(box.code.text, /^[2-9A-HJ-NP-TW-Z]{4}-[2-9A-HJ-NP-TW-Z]{4}$/);
  assert.equal((await openClaimCode(box.files.code)).text, box.code.text);
  assert.equal((Deno.statSync(box.files.code).mode ?? 0) & 0o077, 0);
  const typed = box.code.text.toLowerCase().replace("-", " ");
  assert.ok(box.code.matches(typed) && box.code.matches(` ${box.code.text} `));
  for (const wrong of ["", "-", box.code.text.slice(1), `${box.code.text}2`, "x".repeat(100_000)]) {
    assert.ok(!box.code.matches(wrong));
  }
  Deno.writeTextFileSync(box.files.code, "{");
  assert.notEqual((await openClaimCode(box.files.code)).text, box.code.text);
});

Deno.test("a claim with the code names region, zone and host, and gets the key once", async () => {
  await using box = await newBox();
  const desk = await BoxDesk.open(box.code, box.log, box.files, "n-1");
  const { post } = appOf(box, desk);
  const { status, said } = await post(
    `code=${box.code.text}&region=eu-north-1&az=eu-north-1b&hostname=node7`,
  );
  assert.equal(status, 200, JSON.stringify(said));
  assert.equal(said.az, "eu-north-1b");
  assert.equal(said.endpoint, "https://192.168.1.5:9999");
  assert.match(said.ca_certificate, /BEGIN CERTIFICATE/);
  assert.ok(isAccessKey(said));
  const { claimed_at, ...claim } = read(box.files.claim);
  assert.ok(Date.parse(claimed_at) > 0);
  assert.deepEqual(claim, {
    version: 1,
    region: "eu-north-1",
    az: "eu-north-1b",
    hostname: "node7",
    admin: { access_key_id: said.access_key_id, secret_access_key: said.secret_access_key },
  });
  assert.equal((Deno.statSync(box.files.claim).mode ?? 0) & 0o077, 0);
  assert.equal((await post(`code=${box.code.text}`)).status, 409);
  // Cut off here, and started again: it stays claimed.
  const again = await BoxDesk.open(box.code, box.log, box.files, "n-1");
  assert.equal(again.state, "claimed");
  assert.equal((await appOf(box, again).post(`code=${box.code.text}`)).status, 409);
  assert.ok(!box.lines.join("").includes(said.secret_access_key), "secrets are not logged");
  assert.ok(!box.lines.join("").includes(box.code.text));
});

Deno.test("a claim whose Host header is none is refused before the code is used up", async () => {
  await using box = await newBox();
  const desk = await BoxDesk.open(box.code, box.log, box.files, "n-1");
  const { app } = appOf(box, desk);
  const path = `${box.directory}/control.sock`;
  await using _server = Deno.serve(
    { path, onListen: () => {} },
    (request) => app.fetch(request, { from: "10.0.0.9" }),
  );
  using connection = await Deno.connect({ transport: "unix", path });
  const body = `code=${box.code.text}`;
  await connection.write(new TextEncoder().encode(
    `POST /claim HTTP/1.1\r\nHost: [bad\r\nContent-Length: ${body.length}\r\n\r\n${body}`,
  ));
  const bytes = new Uint8Array(4_096);
  const length = await connection.read(bytes) ?? 0;
  assert.match(new TextDecoder().decode(bytes.subarray(0, length)), /^HTTP\/1\.1 400 /);
  assert.equal(desk.state, "box");
});

Deno.test("of many claims at the same time one wins", async () => {
  await using box = await newBox();
  const desk = await BoxDesk.open(box.code, box.log, box.files, "n-1");
  const { post } = appOf(box, desk);
  const replies = await Promise.all(
    Array.from({ length: 8 }, (_, at) => post(`code=${box.code.text}`, undefined, `10.0.0.${at}`)),
  );
  assert.deepEqual(replies.map(({ status }) => status).sort(), [200, ...Array(7).fill(409)]);
});

Deno.test("a wrong code, too many attempts and wishes that cannot be change nothing", async () => {
  await using box = await newBox();
  const desk = await BoxDesk.open(box.code, box.log, box.files, "n-1");
  const { post } = appOf(box, desk);
  const json = (value: unknown) => post(JSON.stringify(value), "application/json", "10.0.1.1");
  assert.equal((await post("code=AAAA-AAAA")).status, 403);
  assert.equal((await post("")).status, 400);
  assert.equal((await post("{", "application/json")).status, 400);
  assert.equal((await json({ code: 1 })).status, 400);
  assert.equal((await json(null)).status, 400);
  assert.equal((await json([])).status, 400);
  const mars = await json({ code: box.code.text, region: "mars" });
  assert.equal(mars.status, 400);
  assert.match(mars.said.error, /^"region" must be a region such as/);
  assert.equal((await json({ code: box.code.text, hostname: "a b" })).status, 400);
  assert.equal((await json({ code: box.code.text, az: "us-east-1a" })).status, 400);
  assert.equal((await post(`code=${"x".repeat(10_000)}`)).status, 413);
  const statuses: number[] = [];
  for (let at = 0; at < 10; at++) {
    statuses.push((await post("code=x", undefined, "10.0.2.2")).status);
  }
  assert.deepEqual(statuses, [...Array(5).fill(403), ...Array(5).fill(429)]);
  // Whoever hammers locks out himself and not the owner.
  assert.throws(() => Deno.statSync(box.files.claim), Deno.errors.NotFound);
  assert.equal((await post(`code=${box.code.text}`, undefined, "10.0.3.3")).status, 200);
});

Deno.test("a key that a seed left to be fetched is handed over once, and the node stays as it is", async () => {
  await using box = await newBox();
  const admin = newAdminKey();
  Deno.writeTextFileSync(box.files.handover, JSON.stringify({ version: 1, admin }));
  const desk = new KeyDesk(box.code, box.log, box.files, node);
  const { post } = appOf(box, desk);
  const other = await post(`code=${box.code.text}&region=us-east-1`);
  assert.equal(other.status, 409);
  assert.match(other.said.error, /cannot become us-east-1/);
  const { status, said } = await post(`code=${box.code.text}&region=eu-north-1`);
  assert.equal(status, 200);
  assert.deepEqual(
    [said.access_key_id, said.secret_access_key, said.region],
    [admin.access_key_id, admin.secret_access_key, "eu-north-1"],
  );
  assert.throws(() => Deno.statSync(box.files.handover), Deno.errors.NotFound);
  assert.equal((await post(`code=${box.code.text}`)).status, 409);
});

Deno.test("without the code the control server tells who the box is, and nothing to write home about", async () => {
  await using box = await newBox();
  const desk = await BoxDesk.open(box.code, box.log, box.files, "n-1");
  const { app } = appOf(box, desk);
  const get = (path: string) =>
    app.request(`https://10.0.0.5:8443${path}`, {}, { from: "10.0.0.1" });
  const page = await get("/");
  const text = await page.text();
  assert.match(page.headers.get("content-security-policy") ?? "", /default-src 'none'/);
  assert.ok(text.includes("box&lt;b&gt;") && !text.includes("box<b>"), "names are escaped");
  assert.ok(!text.includes(box.code.text));
  const status = await (await get("/status")).json();
  assert.deepEqual(status, {
    format: 1,
    node_id: "n-1",
    cluster_id: "",
    version: "0.1.0",
    state: "unclaimed",
    host: "box<b>",
    claim: "box",
  });
  assert.equal((await get("/claim")).status, 404);
  assert.equal((await get("/../etc/passwd")).status, 404);
});

Deno.test("the page's script and style are those that its policy names", async () => {
  await using box = await newBox();
  const desk = await BoxDesk.open(box.code, box.log, box.files, "n-1");
  const page = await appOf(box, desk).app.request("https://10.0.0.5/", {}, { from: "" });
  const text = await page.text();
  const policy = page.headers.get("content-security-policy") ?? "";
  for (const element of ["script", "style"]) {
    const inside = new RegExp(`<${element}>([\\s\\S]*?)</${element}>`).exec(text)?.[1] ?? "";
    const hash = await crypto.subtle.digest("SHA-256", new TextEncoder().encode(inside));
    assert.ok(policy.includes(new Uint8Array(hash).toBase64()), element);
  }
});

Deno.test("an allowance bounds one asker and all together, and comes back with time", () => {
  const allowance = new Allowance({ burst: 2, perSecond: 1, allBurst: 3, allPerSecond: 1 });
  const take = (asker: string, at: number) => allowance.take(asker, at);
  assert.deepEqual([take("a", 0), take("a", 0), take("a", 0)], [true, true, false]);
  assert.deepEqual([take("b", 0), take("b", 0)], [true, false]);
  assert.ok(take("a", 1_000));
  assert.ok(!take("b", 1_000));
  for (let at = 0; at < 10_000; at++) take(`x${at}`, 2_000);
  assert.ok(take("a", 60_000));
});

const facts = {
  version: "0.1.0",
  host: "mulga-12ab",
  node_id: "n-12ab",
  addresses: [
    { interface: "enp1s0", address: "192.168.1.5", family: "IPv4" },
    { interface: "enp1s0", address: "2001:db8::5", family: "IPv6" },
  ],
  ports: { control: 8443, gateway: 9999, s3: 9002 },
  certificate: { pin: "sha256//abc=", fingerprint: Array(32).fill("AA").join(":") },
  made: false,
} as const;

Deno.test("the screen says who the box is, where it is and how to claim it; nothing secret once it is claimed", async () => {
  await using box = await newBox();
  const desk = await BoxDesk.open(box.code, box.log, box.files, "n-1");
  const text = screenText({ ...facts, desk, notice: "mulga.yaml, line 2: mend it." });
  assert.ok(text.includes("mulga-12ab") && text.includes("192.168.1.5 (enp1s0)"));
  assert.ok(text.includes(`https://192.168.1.5:8443/    with the code    ${box.code.text}`));
  assert.ok(
    text.includes(
      `curl -k --pinnedpubkey 'sha256//abc=' https://192.168.1.5:8443/claim -d code=${box.code.text}`,
    ),
  );
  assert.ok(text.includes("NOTE: mulga.yaml, line 2: mend it."));
  const claimed = screenText({ ...facts, made: true, desk: undefined });
  assert.ok(claimed.includes("https://192.168.1.5:9999") && !claimed.includes("code"));
  assert.match(screenText({ ...facts, addresses: [], desk }), /No address yet/);
  for (const line of text.split("\n")) {
    assert.ok(line.length < 80 || line.includes("curl") || line.includes("Addresses"), line);
  }
});

Deno.test("the screen's pipe gets each changed text once, and a box without one is no trouble", async () => {
  await using box = await newBox();
  const pipe = `${box.directory}/screen`;
  await new Screen(box.log, pipe).show("nobody looks");
  assert.equal((await new Deno.Command("mkfifo", { args: [pipe] }).output()).code, 0);
  // Held open both ways, as systemd holds it.
  using held = await Deno.open(pipe, { read: true, write: true });
  const screen = new Screen(box.log, pipe);
  await screen.show("one");
  await screen.show("one");
  await screen.show("two");
  const buffer = new Uint8Array(1_024);
  const got = await held.read(buffer) ?? 0;
  // deno-lint-ignore no-control-regex
  const shown = new TextDecoder().decode(buffer.subarray(0, got)).replaceAll(/\x1b\[2?[HJ]/g, "|");
  assert.equal(shown, "||one||two");
  assert.deepEqual(box.lines, []);
});
