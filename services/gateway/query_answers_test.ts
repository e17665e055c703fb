import assert from "node:assert/strict";
import { queryService } from "../aws/catalog.ts";
import { writeAnswer } from "../aws/query_protocol.ts";
import { ListAnswer, listItem, readListIndex } from "../bus/list_answer.ts";
import { QueryAnswers } from "./query_answers.ts";

const decoder = new TextDecoder();
const service = queryService("ec2")!;
const operation = service.operation("DescribeInstances")!;

const reservation = (number: number) => ({
  ReservationId: `r-${number}`,
  OwnerId: "123456789012",
  Groups: [],
  Instances: [{ InstanceId: `i-${number}`, Tags: [{ Key: "Name", Value: `<é & ${number}>` }] }],
});

function replyOf(items: readonly unknown[], rest: Record<string, unknown>) {
  const { data, header } = new ListAnswer<{ Reservations: unknown[] }>(
    "Reservations",
    items.map(listItem),
    rest,
  ).encode();
  return { data, index: readListIndex(header, data.length) };
}

const text = (body: string | Uint8Array) => typeof body === "string" ? body : decoder.decode(body);

Deno.test("an answer made of items is byte for byte the XML of the same answer as values", () => {
  const answers = new QueryAnswers();
  for (const count of [0, 1, 3, 2]) {
    for (const rest of [{}, { NextToken: "a<b" }]) {
      const items = Array.from({ length: count }, (_, number) => reservation(number));
      const written = text(answers.write(service, operation, replyOf(items, rest), "r"));
      assert.equal(
        written,
        writeAnswer(service, operation, { Reservations: items, ...rest }, "r"),
      );
      assert.equal(written.match(/<\?xml/g)?.length, 1);
    }
  }
});

Deno.test("an item that changed is shown as it is now, and the others as they were", () => {
  const answers = new QueryAnswers();
  const before = [reservation(1), reservation(2)];
  answers.write(service, operation, replyOf(before, {}), "r");
  const after = [{ ...reservation(1), OwnerId: "210987654321" }, reservation(2)];
  const written = text(answers.write(service, operation, replyOf(after, {}), "r"));
  assert.equal(written, writeAnswer(service, operation, { Reservations: after }, "r"));
});

Deno.test("an ordinary answer is written as before", () => {
  const output = { Reservations: [reservation(7)] };
  const data = new TextEncoder().encode(JSON.stringify(output));
  assert.equal(
    text(new QueryAnswers().write(service, operation, { data, index: undefined }, "r")),
    writeAnswer(service, operation, output, "r"),
  );
});

Deno.test("a list that the operation does not have is a fault of its owner", () => {
  const { data, index } = replyOf([reservation(1)], {});
  const wrong = { data, index: { ...index!, member: "Volumes" } };
  assert.throws(() => new QueryAnswers().write(service, operation, wrong, "r"), TypeError);
});
