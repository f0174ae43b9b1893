import { deepEqual, equal, ok, rejects } from "node:assert/strict";
import {
  formatAnswer,
  leaveStaleSocket,
  startScriptedDaemon,
} from "../../tests/scripted_daemon.ts";
import { ConnectionCutError, DaemonAbsentError } from "./ask.ts";
import { askPatiently } from "./wait.ts";

const signal = new AbortController().signal;

/** More than any of these tests needs; one that fails ends with it. */
const LONG_MS = 30_000;

function makeDir(): { readonly path: string } & Disposable {
  const path = Deno.makeTempDirSync({ prefix: "wait" });
  return {
    path,
    [Symbol.dispose]: () => Deno.removeSync(path, { recursive: true }),
  };
}

Deno.test("askPatiently() waits when the daemon comes later", async () => {
  using dir = makeDir();
  const question = { socketPath: `${dir.path}/multus.sock`, route: "/cni" };
  await leaveStaleSocket(question.socketPath);
  const answered = askPatiently(question, { waitMs: LONG_MS, signal });
  await Deno.remove(question.socketPath);
  await using _daemon = startScriptedDaemon(question.socketPath, () => [
    formatAnswer(200, "here"),
  ]);
  deepEqual(await answered, { status: 200, body: "here" });
});

Deno.test("askPatiently() asks again when the daemon is not ready", async () => {
  using dir = makeDir();
  const question = { socketPath: `${dir.path}/multus.sock`, route: "/cni" };
  await using daemon = startScriptedDaemon(question.socketPath, () => {
    const isReady = daemon.asked.length > 3;
    return [isReady ? formatAnswer(200, "") : formatAnswer(503, "starting")];
  });
  const options = { waitMs: LONG_MS, signal };
  equal((await askPatiently(question, options)).status, 200);
  equal(daemon.asked.length, 4);
});

Deno.test("askPatiently() gives up when the time is over", async () => {
  using dir = makeDir();
  const question = { socketPath: `${dir.path}/multus.sock`, route: "/cni" };
  const start = performance.now();
  const absent = askPatiently(question, { waitMs: 200, signal });
  await rejects(absent, DaemonAbsentError);
  ok(performance.now() - start >= 199);
  await using daemon = startScriptedDaemon(question.socketPath, () => [
    formatAnswer(503, "starting"),
  ]);
  const unready = await askPatiently(question, { waitMs: 0, signal });
  deepEqual(unready, { status: 503, body: "starting" });
  equal(daemon.asked.length, 1);
});

Deno.test("askPatiently() does not ask twice when the first may have been taken", async () => {
  using dir = makeDir();
  const question = { socketPath: `${dir.path}/multus.sock`, route: "/cni" };
  await using daemon = startScriptedDaemon(question.socketPath, () => []);
  const answered = askPatiently(question, { waitMs: LONG_MS, signal });
  await rejects(answered, ConnectionCutError);
  equal(daemon.asked.length, 1);
});

Deno.test("askPatiently() stops waiting when the signal is aborted", async () => {
  using dir = makeDir();
  const question = { socketPath: `${dir.path}/multus.sock`, route: "/cni" };
  const controller = new AbortController();
  const options = { waitMs: LONG_MS, signal: controller.signal };
  const answered = askPatiently(question, options);
  const reason = new RangeError("Enough");
  controller.abort(reason);
  await rejects(answered, reason);
});
