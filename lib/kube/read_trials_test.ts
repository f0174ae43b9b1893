import { equal, ok } from "node:assert/strict";
import { waitUntil } from "../../tests/api_server/wait.ts";
import { createReadTrials } from "./read_trials.ts";

/** A read that is answered as the test says. */
function createRead(): {
  read: () => Promise<void>;
  isAnswered: boolean;
  tries: number;
} {
  const state = {
    isAnswered: false,
    tries: 0,
    read: () => {
      state.tries++;
      return state.isAnswered
        ? Promise.resolve()
        : Promise.reject(new TypeError("Not answered"));
    },
  };
  return state;
}

Deno.test("createReadTrials() tells how the last try went, and works when all reads do", async () => {
  const [pods, networks] = [createRead(), createRead()];
  await using trials = createReadTrials({
    reads: [pods.read, networks.read],
    isNeeded: () => true,
    everyMs: 1,
  });
  ok(!trials.work);
  equal(pods.tries, 0);
  trials.start();
  trials.start();
  await waitUntil(() => pods.tries >= 2, { what: "two tries" });
  ok(!trials.work);
  pods.isAnswered = true;
  const before = networks.tries;
  await waitUntil(() => networks.tries >= before + 2, { what: "two more" });
  ok(!trials.work);
  networks.isAnswered = true;
  await waitUntil(() => trials.work, { what: "all are answered" });
  pods.isAnswered = false;
  await waitUntil(() => !trials.work, { what: "one is not any more" });
});

Deno.test("createReadTrials() tries no more when it does not matter", async () => {
  const pods = createRead();
  let isNeeded = true;
  await using trials = createReadTrials({
    reads: [pods.read],
    isNeeded: () => isNeeded,
    everyMs: 1,
  });
  trials.start();
  await waitUntil(() => pods.tries >= 1, { what: "a try" });
  isNeeded = false;
  await trials[Symbol.asyncDispose]();
  const { tries } = pods;
  trials.start();
  equal(pods.tries, tries);
});

Deno.test("createReadTrials() ends a try that is under way when it is disposed of", async () => {
  const begun = Promise.withResolvers<void>();
  await using trials = createReadTrials({
    reads: [(signal) => {
      begun.resolve();
      const { promise, reject } = Promise.withResolvers<never>();
      signal.addEventListener("abort", () => reject(signal.reason));
      return promise;
    }],
    isNeeded: () => true,
    everyMs: 1,
  });
  trials.start();
  await begun.promise;
});
