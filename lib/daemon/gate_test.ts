import { equal, rejects } from "node:assert/strict";
import { createGate } from "./gate.ts";

const never = new AbortController().signal;

Deno.test("pass() goes on at once while the gate is open", async () => {
  await createGate().pass(never);
});

Deno.test("pass() waits until nobody holds the gate closed any more", async () => {
  const gate = createGate();
  const first = await gate.close(never);
  const second = await gate.close(never);
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
  using _closed = await gate.close(never);
  const leaving = new AbortController();
  const pass = gate.pass(leaving.signal);
  leaving.abort(new RangeError("Enough"));
  await rejects(pass, RangeError);
});

Deno.test("close() waits for those who are passing, and lets nobody new in meanwhile", async () => {
  const gate = createGate();
  const passing = await gate.pass(never);
  let closings = 0;
  const closing = gate.close(never).then((closed) => {
    closings++;
    return closed;
  });
  const late = gate.pass(never);
  await Promise.resolve();
  equal(closings, 0);
  passing[Symbol.dispose]();
  const closed = await closing;
  closed[Symbol.dispose]();
  (await late)[Symbol.dispose]();
});

Deno.test("close() gives up with its signal, and the gate is open again", async () => {
  const gate = createGate();
  using _passing = await gate.pass(never);
  const leaving = new AbortController();
  const close = gate.close(leaving.signal);
  leaving.abort(new RangeError("Enough"));
  await rejects(close, RangeError);
  (await gate.pass(never))[Symbol.dispose]();
});
