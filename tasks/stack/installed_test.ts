import assert from "node:assert/strict";
import { isInstalled, parseUnits } from "./installed.ts";

Deno.test("what systemctl shows is told apart by unit", () => {
  const units = parseUnits(
    "Id=mulga-nats.service\nActiveState=active\nMainPID=12\n\n" +
      "Id=mulga-gateway.service\nActiveState=failed\nMainPID=0\n",
  );
  assert.equal(units.get("mulga-nats.service")?.MainPID, "12");
  assert.equal(units.get("mulga-gateway.service")?.ActiveState, "failed");
  assert.equal(units.size, 2);
});

Deno.test("a checkout's data directory is not systemd's to run", async () => {
  assert.equal(await isInstalled({ root: "/home/me/.local/share/mulga" }), false);
});
