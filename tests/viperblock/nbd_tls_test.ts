/** NBD over TCP: TLS with certificates on both sides or nothing, and the same volume behind it. */
import assert from "node:assert/strict";
import { createLog } from "../../services/log/log.ts";
import { RemoteDoor } from "../../services/viperblock/remote/remote_door.ts";
import { startBare } from "./bare_engine.ts";
import { run } from "./engine.ts";
import { readExactly, writeAll } from "./nbd_client.ts";

const mebi = 1 << 20;

/** An authority in `directory`, and what it signs, by openssl as an operator does it. */
async function makeCertificates(directory: string, name: string, usage: string): Promise<void> {
  const at = (file: string) => `${directory}/${file}`;
  const key = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes"];
  const authority = at("ca-cert.pem");
  if (!await Deno.stat(authority).then(() => true, () => false)) {
    await run("openssl", [
      ...["req", "-x509", ...key, "-keyout", at("ca-key.pem"), "-out", authority],
      ...["-subj", "/CN=authority", "-days", "2", "-addext", "keyUsage=critical,keyCertSign"],
    ]);
  }
  await run("openssl", [
    ...["req", ...key, "-keyout", at(`${name}-key.pem`), "-out", at(`${name}.csr`)],
    ...["-subj", `/CN=${name}`],
  ]);
  await Deno.writeTextFile(
    at("extensions"),
    `subjectAltName=DNS:localhost,IP:127.0.0.1\nextendedKeyUsage=${usage}\nkeyUsage=digitalSignature\n`,
  );
  await run("openssl", [
    ...["x509", "-req", "-in", at(`${name}.csr`), "-CA", authority, "-CAkey", at("ca-key.pem")],
    ...["-CAcreateserial", "-days", "2", "-extfile", at("extensions")],
    ...["-out", at(`${name}-cert.pem`)],
  ]);
}

Deno.test("a volume is copied and mapped over TLS, and to nobody else", async () => {
  const directory = await Deno.makeTempDir({ prefix: "mulga-tls-", dir: "/var/tmp" });
  const socket = `${directory}/nbd`;
  const pki = `${directory}/pki`;
  const others = `${directory}/others`;
  const engine = await startBare({ directory, socket, sizeBytes: 64 * mebi, epoch: 1 });
  try {
    for (const each of [pki, others]) {
      await Deno.mkdir(each);
      await makeCertificates(each, "client", "clientAuth");
    }
    await makeCertificates(pki, "server", "serverAuth");
    const read = (file: string) => Deno.readTextFile(`${pki}/${file}`);
    await using door = await RemoteDoor.open({
      host: "127.0.0.1",
      port: 0,
      cert: await read("server-cert.pem"),
      key: await read("server-key.pem"),
      ca: await read("ca-cert.pem"),
      socketOf: (id) => id === "vol-bare" ? socket : undefined,
      log: createLog("test", { write: () => {} }),
    });
    const local = `nbd+unix:///vol-bare?socket=${socket}`;
    const remote = (certificates: string, name = "vol-bare") =>
      `nbds://localhost:${door.port}/${name}?tls-certificates=${certificates}`;
    await run("qemu-io", ["-f", "raw", "-c", "write -P 7 5M 3M", "-c", "flush", local]);
    assert.equal(
      await run("nbdinfo", ["--map", remote(pki)]),
      await run("nbdinfo", ["--map", local]),
    );
    assert.equal(JSON.parse(await run("nbdinfo", ["--json", remote(pki)])).TLS, true);
    // There and back, over several connections.
    await run("nbdcopy", [remote(pki), `${directory}/copy.raw`]);
    await run("qemu-img", ["compare", "-f", "raw", "-F", "raw", local, `${directory}/copy.raw`]);
    await run("dd", ["if=/dev/urandom", `of=${directory}/random.raw`, "bs=1M", "count=64"]);
    await run("nbdcopy", ["--flush", `${directory}/random.raw`, remote(pki)]);
    await run("qemu-img", ["compare", "-f", "raw", "-F", "raw", local, `${directory}/random.raw`]);
    // QEMU's own client, by its own names for the files.
    for (const each of ["cert", "key"]) {
      await Deno.copyFile(`${pki}/client-${each}.pem`, `${pki}/x-${each}.pem`);
    }
    await run("qemu-img", [
      ...["convert", "--object", `tls-creds-x509,id=tls0,endpoint=client,dir=${pki}`],
      ...[
        "--image-opts",
        `driver=nbd,host=localhost,port=${door.port},export=vol-bare,tls-creds=tls0`,
      ],
      ...["-O", "raw", `${directory}/qemu.raw`],
    ]);
    await run("qemu-img", ["compare", "-f", "raw", "-F", "raw", local, `${directory}/qemu.raw`]);
    // No volume of that name; a certificate of another authority; none; no TLS at all.
    await assert.rejects(run("nbdinfo", [remote(pki, "vol-other")]));
    await Deno.copyFile(`${pki}/ca-cert.pem`, `${others}/ca-cert.pem`);
    await assert.rejects(run("nbdinfo", [remote(others)]));
    await Deno.remove(`${others}/client-cert.pem`);
    await Deno.remove(`${others}/client-key.pem`);
    await assert.rejects(run("nbdinfo", [remote(others)]));
    await assert.rejects(run("nbdinfo", [`nbd://localhost:${door.port}/vol-bare`]));
    // In the clear every option but TLS is refused, and the old way in is no way.
    const plain = await Deno.connect({ hostname: "127.0.0.1", port: door.port });
    await readExactly(plain, 18);
    const option = (kind: number) => {
      const bytes = new Uint8Array(16);
      const view = new DataView(bytes.buffer);
      view.setBigUint64(0, 0x49484156454f5054n);
      view.setUint32(8, kind);
      return bytes;
    };
    await writeAll(plain, new Uint8Array([0, 0, 0, 3]));
    for (const kind of [3, 6, 7, 8, 10]) {
      await writeAll(plain, option(kind));
      const refused = await readExactly(plain, 20);
      assert.equal(new DataView(refused.buffer).getUint32(12), 0x80000005);
    }
    await writeAll(plain, option(1));
    assert.equal(await plain.read(new Uint8Array(1)), null);
    plain.close();
    assert.equal(JSON.parse(await run("nbdinfo", ["--json", remote(pki)])).TLS, true);
  } finally {
    await engine.kill();
    await Deno.remove(directory, { recursive: true });
  }
});
