import assert from "node:assert/strict";
import { startNats } from "../../tests/kit/nats.ts";
import { queryService } from "../aws/schema/catalog.ts";
import { writeAnswer } from "../aws/query/query_protocol.ts";
import type { Answer } from "../bus/bus.ts";
import { ListAnswer, listItem } from "../bus/list_answer.ts";
import { subject, systemContext } from "../bus/subject.ts";
import { QueryAnswers } from "./query_answers.ts";

const service = queryService("ec2")!;
const operation = service.operation("DescribeInstances")!;

const reservation = (number: number) => ({
  ReservationId: `r-${number}`,
  OwnerId: "123456789012",
  Groups: [],
  Instances: [{ InstanceId: `i-${number}`, Tags: [{ Key: "Name", Value: `<é & ${number}>` }] }],
});

type Shown = Record<string, unknown>;
const list = (items: readonly unknown[], rest: Record<string, unknown> = {}) =>
  new ListAnswer<Shown>("Reservations", items.map(listItem), rest);

/** An owner whose answer the test sets, and a gateway's side that asks it. */
async function startOwner() {
  const nats = await startNats();
  const [owner, asker] = [await nats.bus("compute"), await nats.bus("gateway")];
  let answer: Answer<Shown> = {};
  owner.answer(subject<Shown, Shown>("ec2.DescribeInstances"), () => answer);
  await owner.connection.flush();
  const answers = new QueryAnswers();
  return {
    asker,
    async ask(next: Answer<Shown>, input = {}): Promise<string> {
      answer = next;
      const call = { action: "DescribeInstances", operation, input };
      const context = { ...systemContext(600_000), request_id: "r" };
      const { content, bytes } = await answers.ask(asker, service, call, context, 600_000);
      const text = await new Response(content).text();
      assert.equal(new TextEncoder().encode(text).length, bytes);
      return text;
    },
    [Symbol.asyncDispose]: () => nats[Symbol.asyncDispose](),
  };
}

Deno.test("an answer made of items is byte for byte the XML of the same answer as values, asked again too", async () => {
  await using owner = await startOwner();
  for (const count of [0, 1, 3, 2]) {
    for (const rest of [{}, { NextToken: "a<b" }]) {
      const Reservations = Array.from({ length: count }, (_, number) => reservation(number));
      const wanted = writeAnswer(service, operation, { Reservations, ...rest }, "r");
      assert.equal(await owner.ask(list(Reservations, rest)), wanted);
      assert.equal(await owner.ask(list(Reservations, rest)), wanted, "asked again");
      assert.equal(await owner.ask({ Reservations, ...rest }), wanted, "answered as values");
    }
  }
});

Deno.test("an answer of megabytes arrives whole", async () => {
  await using owner = await startOwner();
  const Reservations = Array.from({ length: 5_000 }, (_, number) => reservation(number));
  const wanted = writeAnswer(service, operation, { Reservations }, "r");
  assert.ok(wanted.length > 1 << 20);
  for (let time = 0; time < 2; time++) assert.ok(await owner.ask(list(Reservations)) === wanted);
});

Deno.test("what changed is shown as it is now, in every answer", async () => {
  await using owner = await startOwner();
  const before = [reservation(1), reservation(2)];
  await owner.ask(list(before));
  const after = [{ ...reservation(1), OwnerId: "210987654321" }, reservation(2)];
  for (const now of [after, before, [reservation(2)], after]) {
    assert.equal(
      await owner.ask(list(now)),
      writeAnswer(service, operation, { Reservations: now }, "r"),
    );
  }
});

Deno.test("an answer that the asker has is not sent again, and one that it has not is", async () => {
  await using owner = await startOwner();
  const { asker } = owner;
  await owner.ask(list([reservation(1)]));
  const name = subject<Shown, Shown>("ec2.DescribeInstances");
  const first = await asker.askReply(name, {}, systemContext(600_000));
  assert.ok(first.data.length > 0 && first.index !== undefined);
  const again = await asker.askReply(name, {}, systemContext(600_000), first.digest);
  assert.equal(again.data.length, 0);
  assert.equal(again.digest, first.digest);
  const other = await asker.askReply(name, {}, systemContext(600_000), "another");
  assert.deepEqual(other.data, first.data);
});

Deno.test("a list that the operation does not have is a fault of its owner", async () => {
  await using owner = await startOwner();
  await assert.rejects(owner.ask(new ListAnswer<Shown>("Volumes", [listItem({})])), TypeError);
});
