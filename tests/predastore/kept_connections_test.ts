/**
 * A client that writes object after object pays for one TLS handshake: a body that was read to its end
 * leaves the connection open, and one that was refused unread takes nothing of the next request with it.
 */
import assert from "node:assert/strict";
import { join } from "node:path";
import { CreateBucketCommand, GetObjectCommand, PutObjectCommand } from "@aws-sdk/client-s3";
import { getSignedUrl } from "@aws-sdk/s3-request-presigner";
import { startPredastore } from "../kit/predastore.ts";

Deno.test({
  name: "a connection goes on after a PUT of any size, and after one that was refused",
  // The SDK keeps its connections open until it is destroyed.
  sanitizeResources: false,
  sanitizeOps: false,
  fn: async () => {
    await using test = await startPredastore();
    const s3 = test.s3();
    await s3.send(new CreateBucketCommand({ Bucket: "kept" }));
    const source = join(test.node.config.data_dir, "source");
    const body = crypto.getRandomValues(new Uint8Array(65_536));
    const sizes = [1, 4_096, 100_000, 3 << 20];
    const args: string[] = [];
    for (const [at, size] of sizes.entries()) {
      const bytes = new Uint8Array(size).map((_, index) => body[index % body.length] ?? 0);
      await Deno.writeFile(`${source}${at}`, bytes);
      const url = await getSignedUrl(s3, new PutObjectCommand({ Bucket: "kept", Key: `${at}` }));
      args.push(...(at === 0 ? [] : ["--next"]), "-sS", "--http1.1", "--cacert");
      args.push(test.node.paths.tls.ca, "-w", "%{http_code} %{num_connects}\n");
      args.push("-T", `${source}${at}`, url);
    }
    const { stdout } = await new Deno.Command("curl", { args }).output();
    assert.deepEqual(new TextDecoder().decode(stdout).trim().split("\n"), [
      "200 1",
      "200 0",
      "200 0",
      "200 0",
    ]);
    // Whether the connection goes on here is the server's affair; what comes after must be right.
    const refused = `${test.endpoint}/kept/refused`;
    const get = await getSignedUrl(s3, new GetObjectCommand({ Bucket: "kept", Key: "2" }));
    const mixed = await new Deno.Command("curl", {
      args: ["-sS", "--http1.1", "--cacert", test.node.paths.tls.ca, "-o", "/dev/null"].concat(
        ["-w", "%{http_code}\n", "-H", "Expect:", "-T", `${source}3`, refused, "--next"],
        ["-sS", "--http1.1", "--cacert", test.node.paths.tls.ca, "-o", `${source}-back`],
        ["-w", "%{http_code}\n", get],
      ),
    }).output();
    assert.deepEqual(new TextDecoder().decode(mixed.stdout).trim().split("\n"), ["403", "200"]);
    assert.deepEqual(await Deno.readFile(`${source}-back`), await Deno.readFile(`${source}2`));
    s3.destroy();
  },
});
