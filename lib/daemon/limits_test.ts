import assert from "node:assert/strict";
import { setImmediate as turn } from "node:timers/promises";
import fc from "fast-check";
import { CniError } from "../cni/error.ts";
import {
  createLimits,
  type LaneName,
  type LimitOptions,
  type LimitRequest,
  type Limits,
} from "./limits.ts";

// Longer than any test runs, so that only an explicit step ends anything.
const LONG_MS = 60_000;

/** A piece of work that the test ends by hand; it notes whether it runs. */
interface Job {
  readonly work: (signal: AbortSignal) => Promise<string>;
  readonly signal: AbortSignal | undefined;
  readonly isRunning: boolean;
  finish(value?: string): void;
  fail(error: Error): void;
}

function createJob(onStart: () => void = (): void => {}): Job {
  const end = Promise.withResolvers<string>();
  let signal: AbortSignal | undefined;
  let isRunning = false;
  return {
    work: async (given): Promise<string> => {
      signal = given;
      isRunning = true;
      onStart();
      try {
        return await end.promise;
      } finally {
        isRunning = false;
      }
    },
    get signal(): AbortSignal | undefined {
      return signal;
    },
    get isRunning(): boolean {
      return isRunning;
    },
    finish: (value = "done"): void => end.resolve(value),
    fail: (error): void => end.reject(error),
  };
}

function requestOf(
  lane: LaneName,
  options: Partial<LimitRequest> = {},
): LimitRequest {
  return {
    lane,
    signal: new AbortController().signal,
    timeoutMs: LONG_MS,
    ...options,
  };
}

function limitsOf(options: Partial<LimitOptions> = {}): Limits {
  return createLimits({ addSlots: 2, ...options });
}

/** What a promise came to, without waiting in line for it. */
function outcomeOf(promise: Promise<unknown>): Promise<unknown> {
  return promise.then((value) => value, (error) => error);
}

Deno.test("run() does ADDs in order of arrival, no more at once than there are places", async () => {
  const limits = limitsOf();
  const started: number[] = [];
  const jobs = [0, 1, 2, 3].map((n) => createJob(() => started.push(n)));
  const runs = jobs.map((job, n) =>
    limits.run(requestOf("add", { containerId: `c${n}` }), job.work)
  );
  await turn();
  assert.deepEqual(started, [0, 1]);
  assert.deepEqual(limits.gauges().add, { inFlight: 2, queued: 2 });
  jobs[1]?.finish();
  await turn();
  assert.deepEqual(started, [0, 1, 2]);
  for (const job of jobs) job.finish();
  assert.deepEqual(await Promise.all(runs), ["done", "done", "done", "done"]);
  assert.deepEqual(started, [0, 1, 2, 3]);
  assert.deepEqual(limits.gauges().add, { inFlight: 0, queued: 0 });
});

Deno.test("run() lets every other lane pass while ADDs wait", async () => {
  const limits = limitsOf({ addSlots: 1 });
  const add = createJob();
  const waiting = createJob();
  const runs = [add, waiting].map((job, n) =>
    limits.run(requestOf("add", { containerId: `c${n}` }), job.work)
  );
  for (const lane of ["delete", "check", "gc", "status"] as const) {
    const job = createJob();
    job.finish(lane);
    assert.equal(await limits.run(requestOf(lane), job.work), lane);
  }
  assert.deepEqual(limits.gauges().add, { inFlight: 1, queued: 1 });
  add.finish();
  waiting.finish();
  await Promise.all(runs);
});

Deno.test("run() does one operation at a time for a container, and who waits for it holds no place", async () => {
  const limits = limitsOf();
  const [first, second, other] = [createJob(), createJob(), createJob()];
  const runs = [
    limits.run(requestOf("add", { containerId: "same" }), first.work),
    limits.run(requestOf("add", { containerId: "same" }), second.work),
    limits.run(requestOf("add", { containerId: "other" }), other.work),
  ];
  await turn();
  assert.deepEqual(
    [first.isRunning, second.isRunning, other.isRunning],
    [true, false, true],
  );
  first.finish();
  await turn();
  assert.ok(second.isRunning);
  second.finish();
  other.finish();
  await Promise.all(runs);
  assert.ok(!limits.isBusy("same"));
});

Deno.test("run() gives one work's outcome to all who ask with the same key", async () => {
  const limits = limitsOf();
  const [job, unused] = [createJob(), createJob()];
  const request = { containerId: "c", key: "k" };
  const first = limits.run(requestOf("add", request), job.work);
  const second = limits.run(requestOf("add", request), unused.work);
  await turn();
  job.finish("shared");
  assert.deepEqual(await Promise.all([first, second]), ["shared", "shared"]);
  assert.equal(unused.signal, undefined);
  const later = createJob();
  later.finish("anew");
  assert.equal(
    await limits.run(requestOf("add", request), later.work),
    "anew",
  );
});

Deno.test("run() does not join what has another key or another lane", async () => {
  const limits = limitsOf({ addSlots: 4 });
  const jobs = [createJob(), createJob(), createJob()];
  const requests = [
    requestOf("add", { key: "k" }),
    requestOf("add", { key: "l" }),
    requestOf("check", { key: "k" }),
  ];
  const runs = requests.map((request, n) => {
    const job = jobs[n] ?? createJob();
    job.finish(String(n));
    return limits.run(request, job.work);
  });
  assert.deepEqual(await Promise.all(runs), ["0", "1", "2"]);
});

Deno.test("run() cancels joined work when the last caller has gone, not before", async () => {
  const limits = limitsOf();
  const job = createJob();
  const callers = [new AbortController(), new AbortController()];
  const runs = callers.map(({ signal }) =>
    outcomeOf(limits.run(requestOf("add", { key: "k", signal }), job.work))
  );
  await turn();
  callers[0]?.abort("first gone");
  assert.equal(await runs[0], "first gone");
  assert.ok(!job.signal?.aborted);
  callers[1]?.abort("second gone");
  assert.ok(job.signal?.aborted);
  assert.equal(job.signal?.reason, "second gone");
  job.fail(new TypeError("Undone"));
  assert.equal(String(await runs[1]), "TypeError: Undone");
});

Deno.test("run() begins anew for one who comes while cancelled work still ends", async () => {
  const limits = limitsOf();
  const [old, anew] = [createJob(), createJob()];
  const caller = new AbortController();
  const request = { containerId: "c", key: "k" };
  const first = outcomeOf(
    limits.run(
      requestOf("add", { ...request, signal: caller.signal }),
      old.work,
    ),
  );
  await turn();
  caller.abort("gone");
  const second = limits.run(requestOf("add", request), anew.work);
  await turn();
  assert.ok(old.isRunning && !anew.isRunning);
  old.fail(new TypeError("Undone"));
  await first;
  await turn();
  assert.ok(anew.isRunning);
  anew.finish();
  assert.equal(await second, "done");
});

Deno.test("run() gives up at the deadline and says what for", async () => {
  const limits = limitsOf({ addSlots: 1, abortGraceMs: 0 });
  const [hung, waiting] = [createJob(), createJob()];
  const request = { timeoutMs: 5 };
  const running = outcomeOf(limits.run(requestOf("add", request), hung.work));
  const queued = outcomeOf(
    limits.run(requestOf("add", request), waiting.work),
  );
  for (
    const [promise, text] of [
      [running, "Gave up after 0.005 s: the request was not done"],
      [
        queued,
        "Gave up after 0.005 s: the request was still waiting for its turn, behind those of other pods",
      ],
    ] as const
  ) {
    const error = await promise;
    assert.ok(error instanceof CniError);
    assert.deepEqual([error.code, error.message], [11, text]);
  }
  assert.equal(waiting.signal, undefined);
  assert.ok(hung.signal?.aborted);
  assert.deepEqual(limits.gauges().add, { inFlight: 1, queued: 0 });
  hung.finish();
  await limits.settled(AbortSignal.timeout(LONG_MS));
});

Deno.test("run() gives the work's own error when it ends soon after the deadline", async () => {
  const limits = limitsOf();
  const error = new TypeError("Plugin macvlan was still running");
  const run = limits.run(
    requestOf("add", { timeoutMs: 5 }),
    (signal) =>
      new Promise<never>((_, reject) =>
        signal.addEventListener("abort", () => reject(error))
      ),
  );
  await assert.rejects(run, error);
});

Deno.test("run() starts nothing for one who has gone already", async () => {
  const limits = limitsOf();
  const job = createJob();
  const request = requestOf("add", { signal: AbortSignal.abort("gone") });
  assert.equal(await outcomeOf(limits.run(request, job.work)), "gone");
  assert.equal(job.signal, undefined);
  assert.deepEqual(limits.gauges().add, { inFlight: 0, queued: 0 });
});

Deno.test("run() refuses with code 11 when the queue is full, other lanes apart", async () => {
  const limits = limitsOf({ addSlots: 1, waitingMax: 1 });
  const [running, waiting] = [createJob(), createJob()];
  const runs = [limits.run(requestOf("add"), running.work)];
  await turn();
  runs.push(limits.run(requestOf("add"), waiting.work));
  const error = await outcomeOf(limits.run(requestOf("add"), createJob().work));
  assert.ok(error instanceof CniError && error.code === 11);
  const del = createJob();
  del.finish();
  assert.equal(await limits.run(requestOf("delete"), del.work), "done");
  running.finish();
  waiting.finish();
  await Promise.all(runs);
});

Deno.test("run() of a superseding DEL aborts the running ADD, calls off waiting ones, and starts when the ADD has ended", async () => {
  const limits = limitsOf();
  const [running, waiting, del] = [createJob(), createJob(), createJob()];
  const adds = [running, waiting].map((job, n) =>
    outcomeOf(
      limits.run(
        requestOf("add", { containerId: "c", key: `${n}` }),
        job.work,
      ),
    )
  );
  await turn();
  const deleted = limits.run(
    requestOf("delete", { containerId: "c", supersedes: true }),
    del.work,
  );
  await turn();
  assert.ok(running.signal?.aborted);
  assert.ok(!del.isRunning, "The ADD has not undone its part yet");
  assert.match(
    String(await adds[1]),
    /Cancelled by a DEL of the same container: c/,
  );
  running.fail(new TypeError("Undone"));
  await adds[0];
  await turn();
  assert.ok(del.isRunning);
  del.finish();
  await deleted;
  assert.equal(waiting.signal, undefined);
});

Deno.test("run() of a DEL sent again joins the first, and an ADD that came in between never starts", async () => {
  const limits = limitsOf();
  const [del, between, again] = [createJob(), createJob(), createJob()];
  const request = { containerId: "c", key: "d", supersedes: true };
  const first = limits.run(requestOf("delete", request), del.work);
  const add = outcomeOf(
    limits.run(requestOf("add", { containerId: "c" }), between.work),
  );
  await turn();
  const second = limits.run(requestOf("delete", request), again.work);
  assert.ok(await add instanceof CniError);
  del.finish();
  assert.deepEqual(await Promise.all([first, second]), ["done", "done"]);
  assert.deepEqual([between.signal, again.signal], [undefined, undefined]);
});

Deno.test("run() of a DEL that supersedes nothing waits for the container's ADD", async () => {
  const limits = limitsOf();
  const [add, del] = [createJob(), createJob()];
  const runs = [
    limits.run(requestOf("add", { containerId: "c" }), add.work),
    limits.run(requestOf("delete", { containerId: "c" }), del.work),
  ];
  await turn();
  assert.deepEqual(
    [add.signal?.aborted, del.isRunning, limits.gauges().delete.queued],
    [false, false, 1],
  );
  add.finish();
  await turn();
  assert.ok(del.isRunning);
  del.finish();
  await Promise.all(runs);
});

Deno.test("run() tells how long each request waited", async () => {
  let now = 0;
  const waits: [LaneName, number][] = [];
  const limits = createLimits({
    addSlots: 1,
    now: () => now,
    onWait: (lane, waitMs) => waits.push([lane, waitMs]),
  });
  const [first, second] = [createJob(), createJob()];
  const runs = [first, second].map((job) =>
    limits.run(requestOf("add"), job.work)
  );
  await turn();
  now = 250;
  first.finish();
  await runs[0];
  second.finish();
  await runs[1];
  assert.deepEqual(waits, [["add", 0], ["add", 250]]);
});

Deno.test("dropQueued() calls off what waits and leaves what runs", async () => {
  const limits = limitsOf({ addSlots: 1 });
  const [running, waiting] = [createJob(), createJob()];
  const runs = [running, waiting].map((job) =>
    outcomeOf(limits.run(requestOf("add"), job.work))
  );
  await turn();
  limits.dropQueued("add", "shutting down");
  assert.equal(await runs[1], "shutting down");
  running.finish();
  assert.equal(await runs[0], "done");
  assert.equal(waiting.signal, undefined);
});

Deno.test("abort() ends a whole lane and no other", async () => {
  const limits = limitsOf({ addSlots: 1 });
  const [add, waiting, del] = [createJob(), createJob(), createJob()];
  const adds = [add, waiting].map((job) =>
    outcomeOf(limits.run(requestOf("add"), job.work))
  );
  const deleted = limits.run(requestOf("delete"), del.work);
  await turn();
  limits.abort("add", "too late");
  assert.equal(add.signal?.reason, "too late");
  assert.equal(await adds[1], "too late");
  assert.ok(!del.signal?.aborted);
  add.fail(new TypeError("Undone"));
  await adds[0];
  del.finish();
  assert.equal(await deleted, "done");
});

Deno.test("settled() waits for the last work, or throws when it is called away", async () => {
  const limits = limitsOf();
  await limits.settled(AbortSignal.timeout(LONG_MS));
  const job = createJob();
  const run = limits.run(requestOf("add"), job.work);
  const impatient = new AbortController();
  const early = outcomeOf(limits.settled(impatient.signal));
  impatient.abort("enough");
  assert.equal(await early, "enough");
  const patient = limits.settled(new AbortController().signal);
  job.finish();
  await run;
  await patient;
  assert.equal(limits.gauges().add.inFlight, 0);
});

Deno.test("run() starts ADDs of different containers in order of arrival, whoever ends or leaves meanwhile", async () => {
  const step = fc.oneof(
    fc.constant({ kind: "arrive" as const, at: 0 }),
    fc.record({ kind: fc.constant("finish" as const), at: fc.nat(5) }),
    fc.record({ kind: fc.constant("leave" as const), at: fc.nat(15) }),
  );
  await fc.assert(
    fc.asyncProperty(
      fc.integer({ min: 1, max: 3 }),
      fc.array(step, { maxLength: 40 }),
      async (addSlots, steps) => {
        const limits = createLimits({ addSlots });
        const started: number[] = [];
        const jobs: Job[] = [];
        const callers: AbortController[] = [];
        const runs: Promise<unknown>[] = [];
        for (const { kind, at } of steps) {
          if (kind === "arrive") {
            const number = jobs.length;
            const job = createJob(() => started.push(number));
            const caller = new AbortController();
            jobs.push(job);
            callers.push(caller);
            const request = requestOf("add", {
              containerId: `c${number}`,
              signal: caller.signal,
            });
            runs.push(outcomeOf(limits.run(request, job.work)));
          } else if (kind === "finish") {
            jobs.filter(({ isRunning }) => isRunning)[at]?.finish();
          } else callers[at]?.abort("gone");
          await turn();
          const running = jobs.filter(({ isRunning }) => isRunning).length;
          assert.equal(limits.gauges().add.inFlight, running);
          assert.ok(running <= addSlots);
        }
        for (const job of jobs) job.finish();
        await Promise.all(runs);
        await limits.settled(AbortSignal.timeout(LONG_MS));
        assert.deepEqual(started, started.toSorted((a, b) => a - b));
        assert.deepEqual(limits.gauges().add, { inFlight: 0, queued: 0 });
      },
    ),
    { numRuns: 60 },
  );
});

Deno.test("run() never does two operations of one container at once, whatever is asked for", async () => {
  const lane = fc.constantFrom<LaneName>("add", "delete", "check");
  const step = fc.oneof(
    fc.record({
      kind: fc.constant("arrive" as const),
      lane,
      container: fc.nat(2),
      key: fc.nat(3),
      supersedes: fc.boolean(),
    }),
    fc.record({ kind: fc.constant("finish" as const), at: fc.nat(5) }),
    fc.record({ kind: fc.constant("leave" as const), at: fc.nat(15) }),
  );
  await fc.assert(
    fc.asyncProperty(fc.array(step, { maxLength: 40 }), async (steps) => {
      const limits = createLimits({ addSlots: 2, abortGraceMs: LONG_MS });
      const jobs: (Job & { container: string })[] = [];
      const callers: AbortController[] = [];
      const runs: Promise<unknown>[] = [];
      for (const step of steps) {
        if (step.kind === "arrive") {
          const container = `c${step.container}`;
          const base = createJob();
          const job = Object.defineProperty(base, "container", {
            value: container,
          }) as Job & { container: string };
          const caller = new AbortController();
          jobs.push(job);
          callers.push(caller);
          const request = requestOf(step.lane, {
            containerId: container,
            key: `${container} ${step.key}`,
            supersedes: step.lane === "delete" && step.supersedes,
            signal: caller.signal,
          });
          runs.push(outcomeOf(limits.run(request, job.work)));
        } else if (step.kind === "finish") {
          jobs.filter(({ isRunning }) => isRunning)[step.at]?.finish();
        } else callers[step.at]?.abort("gone");
        await turn();
        const running = jobs.filter(({ isRunning }) => isRunning);
        const containers = running.map(({ container }) => container);
        assert.equal(new Set(containers).size, containers.length);
        for (const container of containers) {
          assert.ok(limits.isBusy(container));
        }
      }
      for (const job of jobs) job.finish();
      await Promise.all(runs);
      await limits.settled(AbortSignal.timeout(LONG_MS));
      for (const { inFlight, queued } of Object.values(limits.gauges())) {
        assert.deepEqual([inFlight, queued], [0, 0]);
      }
      assert.ok(["c0", "c1", "c2"].every((id) => !limits.isBusy(id)));
    }),
    { numRuns: 60 },
  );
});
