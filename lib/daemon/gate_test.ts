import { equal, rejects } from "node:assert/strict";
import { createGate } from "./gate.ts";

const never = new AbortController().signal;

Deno.test("pass() goes on at once while the gate is open", async () => {
  await createGate().pass(never);
});

Deno.test("pass() waits until nobody holds the gate closed any more", async () => {
  const gate = createGate();
  const first = gate.close();
  const second = gate.close();
  let passed = 0;
  const waiting = [gate.pass(never), gate.pass(never)].map((pass) =>
    pass.then(() => passed++)
  );
  first[Symbol.dispose]();
  first[Symbol.dispose]();
  await Promise.resolve();
  equal(passed, 0);
  second[Symbol.dispose]();
  await Promise.all(waiting);
  equal(passed, 2);
});

Deno.test("pass() gives up with its signal", async () => {
  const gate = createGate();
  using _closed = gate.close();
  const leaving = new AbortController();
  const pass = gate.pass(leaving.signal);
  leaving.abort(new RangeError("Enough"));
  await rejects(pass, RangeError);
});
