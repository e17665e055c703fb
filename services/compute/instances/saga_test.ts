import assert from "node:assert/strict";
import { runSaga, type SagaProgress, type Step } from "./saga.ts";

type Failure = { readonly code: string };

class PowerCut extends Error {}

/** A world in which each step leaves residue, half of it before it fails. */
class World {
  readonly residue = new Set<string>();
  progress: SagaProgress<Failure> = { done: [] };
  writes = 0;
  /** Power goes before the n-th write of the progress, or in the n-th half step. */
  cutAt = Infinity;
  failing = "";
  halves = 0;

  #tick(): void {
    if (++this.halves === this.cutAt) throw new PowerCut();
  }

  readonly steps: Step<World>[] = ["claim", "make", "serve", "start"].map((name) => ({
    name,
    run: () => {
      this.#tick();
      this.residue.add(`${name}-half`);
      if (this.failing === name) throw new RangeError(name);
      this.#tick();
      this.residue.add(name);
      return Promise.resolve();
    },
    undo: () => {
      this.#tick();
      this.residue.delete(name);
      this.#tick();
      this.residue.delete(`${name}-half`);
      return Promise.resolve();
    },
  }));

  run(cancelled: () => Failure | undefined = () => undefined): Promise<Failure | undefined> {
    return runSaga<World, Failure>({
      steps: this.steps,
      context: this,
      progress: this.progress,
      record: (progress) => {
        this.#tick();
        this.progress = progress;
        return Promise.resolve();
      },
      failureOf: (error, step) => error instanceof RangeError ? { code: step } : undefined,
      cancelled,
    });
  }

  /** As a process that is started again after every power cut. */
  async runToTheEnd(): Promise<Failure | undefined> {
    for (;;) {
      try {
        return await this.run();
      } catch (error) {
        if (!(error instanceof PowerCut)) throw error;
        this.cutAt = Infinity;
      }
    }
  }
}

const all = ["claim", "make", "serve", "start"];

Deno.test("a failure at any step leaves no residue, also with a power cut at any moment", async () => {
  for (const failing of all) {
    for (let cutAt = 1; cutAt <= 40; cutAt++) {
      const world = new World();
      world.failing = failing;
      world.cutAt = cutAt;
      assert.deepEqual(await world.runToTheEnd(), { code: failing });
      assert.deepEqual([...world.residue], [], `failing ${failing}, cut at ${cutAt}`);
    }
  }
});

Deno.test("a power cut at any moment does not keep the work from being done", async () => {
  for (let cutAt = 1; cutAt <= 20; cutAt++) {
    const world = new World();
    world.cutAt = cutAt;
    assert.equal(await world.runToTheEnd(), undefined);
    assert.deepEqual(world.progress.done, all);
    for (const name of all) assert.ok(world.residue.has(name));
  }
});

Deno.test("what is no longer wanted is undone before its next step", async () => {
  const world = new World();
  let asked = 0;
  const failure = await world.run(() => ++asked === 3 ? { code: "unwanted" } : undefined);
  assert.deepEqual(failure, { code: "unwanted" });
  assert.deepEqual([...world.residue], []);
});

Deno.test("an error that is no failure leaves everything as it is, to go on later", async () => {
  const world = new World();
  world.cutAt = 5;
  await assert.rejects(world.run(), PowerCut);
  assert.deepEqual(world.progress.done, ["claim"]);
  assert.ok(world.residue.has("make-half"));
});
