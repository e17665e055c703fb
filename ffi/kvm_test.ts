import assert from "node:assert/strict";
import { kvmSelfTest } from "./kvm.ts";

/** What the machine itself says, by a way that the self-test does not use. */
const flags = Deno.build.arch === "x86_64" &&
  /\b(vmx|svm)\b/.test(await Deno.readTextFile("/proc/cpuinfo"));

Deno.test("without hardware virtualisation KVM is not usable, said with the reason", async () => {
  const verdict = await kvmSelfTest();
  if (Deno.build.arch === "x86_64" && !flags) {
    assert.equal(verdict.usable, false);
    assert.match(verdict.reason, /hardware virtualisation/);
  }
  assert.notEqual(verdict.reason, "");
});

Deno.test("a /dev/kvm that only emulates is told by its slowness", async () => {
  const verdict = await kvmSelfTest({ ignoreProcessorFlag: true });
  if (verdict.loop_ms !== undefined) {
    assert.equal(verdict.usable, verdict.loop_ms <= 50, verdict.reason);
  }
  if (Deno.build.arch === "x86_64" && !flags) assert.equal(verdict.usable, false);
});

Deno.test("a vCPU that does not come back in time is given up", async () => {
  const verdict = await kvmSelfTest({ ignoreProcessorFlag: true, patience_ms: 1 });
  // Where the device cannot be opened there is nothing to wait for; hardware may be fast enough.
  if (verdict.loop_ms === undefined) assert.equal(verdict.usable, false);
});

Deno.test("a device that is not there, or is no KVM, is a verdict and not an error", async () => {
  const missing = await kvmSelfTest({ ignoreProcessorFlag: true, device: "/dev/nothing-here" });
  assert.equal(missing.usable, false);
  assert.match(missing.reason, /there is no \/dev\/nothing-here/);
  const wrong = await kvmSelfTest({ ignoreProcessorFlag: true, device: "/dev/null" });
  assert.equal(wrong.usable, false);
  assert.match(wrong.reason, /KVM_GET_API_VERSION/);
});
