import assert from "node:assert/strict";
import type { AcceptedConnection } from "../../ffi/accepted_connections.ts";
import { whoseEnd } from "./crowd_choice.ts";

let descriptors = 0;
const connection = (network: string, idle_ms: number): AcceptedConnection => ({
  descriptor: ++descriptors,
  from: 0,
  network,
  idle_ms,
});
const many = (count: number, network: string, idle_ms: (n: number) => number) =>
  Array.from({ length: count }, (_, n) => connection(network, idle_ms(n)));
const bounds = { may: 100, left: 66 };
const everybody = () => true;
const nobody = () => false;

Deno.test("while there is room nobody's connection ends", () => {
  assert.deepEqual(whoseEnd(many(100, "one", (n) => n), nobody, bounds), []);
});

Deno.test("of one network's connections those that were silent for longest end, until a third of the room is free", () => {
  const open = many(101, "one", (n) => n);
  const going = whoseEnd(open, nobody, bounds);
  assert.deepEqual(going, open.slice(66).reverse());
});

Deno.test("requests under way end only where there are no others, and no more than must", () => {
  const busy = new Set(many(80, "one", (n) => 1_000 + n));
  const idle = many(30, "one", (n) => n);
  const isBusy = (one: AcceptedConnection) => busy.has(one);
  assert.deepEqual(new Set(whoseEnd([...busy, ...idle], isBusy, bounds)), new Set(idle));
  const more = many(40, "one", (n) => n);
  for (const one of more) busy.add(one);
  const going = whoseEnd([...busy, ...idle], isBusy, bounds);
  assert.equal(going.length, 30 + 20);
  assert.ok(idle.every((one) => going.includes(one)));
});

Deno.test("a network that takes all there are takes them from itself, whatever it sends and however silent others wait", () => {
  const waiting = [...many(5, "home", () => 60_000), connection("office", 500_000)];
  for (const isBusy of [everybody, nobody]) {
    const going = whoseEnd([...waiting, ...many(200, "flood", (n) => n % 7)], isBusy, bounds);
    assert.equal(going.length, isBusy === everybody ? 106 : 140);
    assert.deepEqual(going.filter(({ network }) => network !== "flood"), []);
  }
});
