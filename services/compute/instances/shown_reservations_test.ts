import assert from "node:assert/strict";
import type { InstanceRecord } from "../contract.ts";
import { ShownReservations } from "./shown_reservations.ts";

const record = (number: number, reservation: string, launch_index = 0): InstanceRecord => ({
  instance_id: `i-${number}`,
  account_id: "123456789012",
  reservation_id: reservation,
  launch_index,
  image_id: "ami-1",
  instance_type: "t3.nano",
  architecture: "x86_64",
  node_id: "n",
  az: "ap-southeast-2a",
  wanted: "stopped",
  state: "stopped",
  launch_time: "2026-01-01T00:00:00.000Z",
  state_time: "2026-01-01T00:00:00.000Z",
  network: {
    private_ip: "172.31.0.5",
    private_dns_name: "ip-172-31-0-5.ap-southeast-2.compute.internal",
    mac: "02:00:00:00:00:01",
    subnet_id: "subnet-1",
    vpc_id: "vpc-1",
    interface_id: "eni-1",
  },
  metadata_options: {
    http_tokens: "required",
    http_endpoint: "enabled",
    instance_metadata_tags: "disabled",
  },
  root_device_name: "/dev/xvda",
  attachments: [],
  tags: {},
});
const context = (group = "sg-1") => ({ vcpus: () => 1, securityGroup: () => group });
const read = (shown: ReturnType<ShownReservations["show"]>) =>
  shown.map(({ json }) => JSON.parse(new TextDecoder().decode(json)));

Deno.test("instances stand in their reservation by launch index, whatever page or filter chose them", () => {
  const shown = new ShownReservations();
  const [a, b, c] = [record(1, "r-1", 1), record(2, "r-1", 0), record(3, "r-2")];
  const ids = (records: InstanceRecord[]) =>
    read(shown.show(records, context())).map((one) =>
      one.Instances.map((instance: { InstanceId: string }) => instance.InstanceId)
    );
  assert.deepEqual(ids([a, b, c]), [["i-2", "i-1"], ["i-3"]]);
  assert.deepEqual(ids([b, c]), [["i-2"], ["i-3"]]);
  assert.deepEqual(ids([a]), [["i-1"]]);
  assert.deepEqual(ids([a, b, c]), [["i-2", "i-1"], ["i-3"]]);
});

Deno.test("what changed is shown changed, and what did not is the very same item", () => {
  const shown = new ShownReservations();
  const [a, b] = [record(1, "r-1"), record(2, "r-2")];
  const before = shown.show([a, b], context());
  const after = shown.show([{ ...a, state: "running" }, b], context());
  assert.equal(read(after)[0].Instances[0].State.Name, "running");
  assert.notEqual(after[0]?.key, before[0]?.key);
  assert.equal(after[1], before[1]);
  const [moved] = shown.show([b], context("sg-2"));
  assert.equal(read([moved!])[0].Instances[0].SecurityGroups[0].GroupId, "sg-2");
});
