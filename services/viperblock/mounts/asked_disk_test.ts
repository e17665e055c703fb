import assert from "node:assert/strict";
import { fileSystemSpace } from "../../../ffi/libc.ts";
import { AskedDisk } from "./asked_disk.ts";

Deno.test("a disk gives a volume's files when each that was ever there can be read to its end, and written to", async () => {
  const directory = await Deno.makeTempDir({ prefix: "mulga-asked-" });
  const log = `${directory}/log-0.seg`;
  try {
    const disk = new AskedDisk(directory);
    await Deno.writeFile(log, new Uint8Array(3 << 20));
    await Deno.writeFile(`${directory}/log-1.seg`, new Uint8Array(4096));
    assert.equal(await disk.refusal(), undefined);
    await Deno.rename(log, `${directory}/kept`);
    assert.match(await disk.refusal() ?? "", /log-0\.seg: /, "one that has gone is not given");
    // Of a process's memory the beginning cannot be read.
    await Deno.symlink("/proc/self/mem", log);
    assert.match(await disk.refusal() ?? "", /log-0\.seg: /);
    await Deno.rename(`${directory}/kept`, log);
    assert.equal(await disk.refusal(), undefined);
  } finally {
    await Deno.remove(directory, { recursive: true });
  }
});

Deno.test("a disk without room for a log file beside the reserve does not answer, whatever it gives", async () => {
  const directory = await Deno.makeTempDir({ prefix: "mulga-asked-" });
  try {
    await Deno.writeFile(`${directory}/log-0.seg`, new Uint8Array(4096));
    const { available_bytes } = fileSystemSpace(directory);
    const full = new AskedDisk(directory, available_bytes);
    assert.match(await full.refusal() ?? "", / bytes are free, of which /);
    assert.equal(await new AskedDisk(directory, 0).refusal(), undefined);
  } finally {
    await Deno.remove(directory, { recursive: true });
  }
});
