import { deepEqual, equal, ok, rejects } from "node:assert/strict";
import type { CniRequest } from "../wire/request.ts";
import { leaveRequest } from "../wire/spool_file.ts";
import { createSpool, drainSpool, type Spool } from "./spool.ts";

const signal = new AbortController().signal;

interface Dir extends Disposable {
  readonly path: string;
}

function makeDir(): Dir {
  const path = Deno.makeTempDirSync({ prefix: "spool" });
  return {
    path,
    [Symbol.dispose]: () => Deno.removeSync(path, { recursive: true }),
  };
}

function delOf(containerId: string, ifname = "eth0"): CniRequest {
  const env = {
    CNI_COMMAND: "DEL",
    CNI_CONTAINERID: containerId,
    CNI_IFNAME: ifname,
  };
  return { env, config: "e30=" };
}

async function namesIn(dir: string): Promise<string[]> {
  const entries = await Array.fromAsync(Deno.readDir(dir));
  return entries.map((entry) => entry.name).sort();
}

/** Leaves requests with times one second apart, because some file systems keep no finer ones. */
async function leaveInOrder(
  dir: string,
  requests: CniRequest[],
): Promise<void> {
  for (const [index, request] of requests.entries()) {
    const path = await leaveRequest(dir, request);
    await Deno.utime(path, 1_000_000 + index, 1_000_000 + index);
  }
}

async function drainAll(spool: Spool): Promise<string[]> {
  const handled: string[] = [];
  await drainSpool(spool, (request) => {
    handled.push(`${request.env.CNI_CONTAINERID} ${request.env.CNI_IFNAME}`);
    return Promise.resolve();
  }, { signal });
  return handled;
}

Deno.test("list() has nothing when the directory does not exist", async () => {
  using dir = makeDir();
  const spool = createSpool(`${dir.path}/none`);
  deepEqual(await spool.list(), []);
  equal(await spool.take("c1@x.json"), undefined);
  deepEqual(await namesIn(dir.path), []);
});

Deno.test("drainSpool() works off what shims left, oldest first", async () => {
  using dir = makeDir();
  const requests = [delOf("c3"), delOf("c1"), delOf("c2"), delOf("c1", "net1")];
  await leaveInOrder(dir.path, requests);
  const spool = createSpool(dir.path);
  deepEqual(await drainAll(spool), [
    "c3 eth0",
    "c1 eth0",
    "c2 eth0",
    "c1 net1",
  ]);
  deepEqual(await spool.list(), []);
  deepEqual(await drainAll(spool), []);
});

Deno.test("drainSpool() works off one container when asked to", async () => {
  using dir = makeDir();
  const spool = createSpool(dir.path);
  for (const id of ["c1", "c1.x", "c2"]) await spool.leave(delOf(id));
  const handled: CniRequest[] = [];
  const handle = (request: CniRequest): Promise<void> => {
    handled.push(request);
    return Promise.resolve();
  };
  await drainSpool(spool, handle, { signal, containerId: "c1" });
  deepEqual(handled, [delOf("c1")]);
  equal((await spool.list()).length, 2);
});

Deno.test("drainSpool() keeps what failed, and goes on with the others", async () => {
  using dir = makeDir();
  const spool = createSpool(dir.path);
  for (const id of ["c1", "c2", "c3"]) await spool.leave(delOf(id));
  const drained = await drainSpool(spool, (request) => {
    const fails = request.env.CNI_CONTAINERID === "c2";
    return fails ? Promise.reject(new RangeError("Busy")) : Promise.resolve();
  }, { signal });
  deepEqual(drained, { done: 2, failed: 1, waiting: 0 });
  deepEqual(await drainAll(spool), ["c2 eth0"]);
});

Deno.test("drainSpool() keeps a request that is left again while it is worked on", async () => {
  using dir = makeDir();
  const spool = createSpool(dir.path);
  await spool.leave(delOf("c1"));
  await drainSpool(spool, (request) => spool.leave(request), { signal });
  equal((await spool.list()).length, 1);
});

Deno.test("drainSpool() ends when it is aborted, and the rest waits", async () => {
  using dir = makeDir();
  const spool = createSpool(dir.path);
  for (const id of ["c1", "c2"]) await spool.leave(delOf(id));
  const controller = new AbortController();
  const drained = await drainSpool(spool, () => {
    controller.abort();
    return Promise.resolve();
  }, { signal: controller.signal });
  deepEqual(drained, { done: 1, failed: 0, waiting: 0 });
  equal((await spool.list()).length, 1);
});

Deno.test("an entry that cannot be read while it is taken waits again, and can be forgotten", async () => {
  using dir = makeDir();
  const spool = createSpool(dir.path);
  await spool.leave(delOf("c1"));
  const [entry] = await spool.list();
  const { readTextFile } = Deno;
  Deno.readTextFile = (): Promise<string> =>
    Promise.reject(new Deno.errors.Interrupted("Too many open files"));
  try {
    await rejects(spool.take(entry?.name ?? ""), Deno.errors.Interrupted);
    const drained = await drainSpool(spool, () => Promise.resolve(), {
      signal,
    });
    deepEqual(drained, { done: 0, failed: 1, waiting: 0 });
  } finally {
    Deno.readTextFile = readTextFile;
  }
  deepEqual(await namesIn(`${dir.path}/taken`), []);
  deepEqual(await spool.list(), [entry]);
  await spool.forget("c1");
  deepEqual(await createSpool(dir.path).list(), []);
});

Deno.test("take() gives an entry to one only", async () => {
  using dir = makeDir();
  const spool = createSpool(dir.path);
  await spool.leave(delOf("c1"));
  const [entry] = await spool.list();
  const name = entry?.name ?? "";
  const taken = await Promise.all([1, 2, 3, 4].map(() => spool.take(name)));
  equal(taken.filter((request) => request !== undefined).length, 1);
});

Deno.test("list() brings back what a crash left in the middle of work", async () => {
  using dir = makeDir();
  const crashed = createSpool(dir.path);
  await crashed.leave(delOf("c1"));
  const [entry] = await crashed.list();
  ok(await crashed.take(entry?.name ?? ""));
  deepEqual(await crashed.list(), []);
  deepEqual(await drainAll(createSpool(dir.path)), ["c1 eth0"]);
});

Deno.test("remove() and putBack() do not mind when the entry is gone", async () => {
  using dir = makeDir();
  const spool = createSpool(dir.path);
  await spool.remove("c1@x.json");
  await spool.putBack("c1@x.json");
  deepEqual(await spool.list(), []);
});

const HASH = "0".repeat(32);

Deno.test("drainSpool() puts away what is no request, and works off the others", async () => {
  using dir = makeDir();
  const whole = await leaveRequest(dir.path, delOf("c1"));
  const torn = await leaveRequest(dir.path, delOf("c2"));
  await Deno.truncate(torn, 10);
  const flipped = await leaveRequest(dir.path, delOf("c3"));
  const text = await Deno.readTextFile(flipped);
  await Deno.writeTextFile(flipped, text.replace("e30=", "e31="));
  await leaveRequest(dir.path, {
    ...delOf("c4"),
    env: { CNI_COMMAND: "ADD", CNI_CONTAINERID: "c4" },
  });
  await Deno.writeTextFile(`${dir.path}/notes.txt`, "hello");
  await Deno.writeTextFile(`${dir.path}/c5@${HASH}.json`, "");
  await Deno.mkdir(`${dir.path}/c6@${HASH}.json`);
  await Deno.symlink("/etc/passwd", `${dir.path}/c7@${HASH}.json`);
  const large = await Deno.create(`${dir.path}/c8@${HASH}.json`);
  await large.truncate(3 * 1024 * 1024);
  large.close();
  const spool = createSpool(dir.path);
  deepEqual(await drainAll(spool), ["c1 eth0"]);
  deepEqual(await spool.list(), []);
  deepEqual(await namesIn(dir.path), ["junk", "taken"]);
  deepEqual(await namesIn(`${dir.path}/taken`), []);
  equal((await namesIn(`${dir.path}/junk`)).length, 8);
  await rejects(Deno.lstat(whole), Deno.errors.NotFound);
});

Deno.test("list() bounds what it puts away", async () => {
  using dir = makeDir();
  for (let index = 0; index < 150; index++) {
    await Deno.writeTextFile(`${dir.path}/junk${index}`, "");
  }
  deepEqual(await createSpool(dir.path).list(), []);
  equal((await namesIn(`${dir.path}/junk`)).length, 100);
});

Deno.test("list() removes what a killed shim did not finish, and leaves alone what one writes now", async () => {
  using dir = makeDir();
  const [old, fresh] = [crypto.randomUUID(), crypto.randomUUID()];
  for (const id of [old, fresh]) {
    await Deno.writeTextFile(`${dir.path}/.${id}.tmp`, "{");
  }
  await Deno.utime(`${dir.path}/.${old}.tmp`, 1_000_000, 1_000_000);
  deepEqual(await createSpool(dir.path).list(), []);
  deepEqual(await namesIn(dir.path), [`.${fresh}.tmp`]);
});

Deno.test("drainSpool() leaves alone what is not due", async () => {
  using dir = makeDir();
  const spool = createSpool(dir.path);
  await leaveInOrder(dir.path, [delOf("c1"), delOf("c2")]);
  const isDue = (name: string): boolean => name.startsWith("c2");
  const handled: string[] = [];
  const drained = await drainSpool(spool, ({ env }) => {
    handled.push(env.CNI_CONTAINERID ?? "");
    return Promise.resolve();
  }, { signal, isDue });
  deepEqual(drained, { done: 1, failed: 0, waiting: 1 });
  deepEqual(handled, ["c2"]);
});

Deno.test("drainSpool() works on as many at once as it may", async () => {
  using dir = makeDir();
  const spool = createSpool(dir.path);
  await leaveInOrder(dir.path, [delOf("c1"), delOf("c2"), delOf("c3")]);
  const second = Promise.withResolvers<void>();
  let running = 0;
  let most = 0;
  const drained = await drainSpool(spool, async () => {
    most = Math.max(most, ++running);
    if (running === 2) second.resolve();
    await second.promise;
    running--;
  }, { signal, concurrency: 2 });
  deepEqual([drained.done, most], [3, 2]);
});

Deno.test("forget() drops what waits and what is worked on, of that container alone", async () => {
  using dir = makeDir();
  const spool = createSpool(dir.path);
  await leaveInOrder(dir.path, [delOf("c1"), delOf("c1", "net1"), delOf("c2")]);
  const [first] = await spool.list();
  const name = first?.name ?? "";
  await spool.take(name);
  equal(await spool.count(), 3);
  ok(await spool.isTaken(name));
  await spool.forget("c1");
  ok(!await spool.isTaken(name));
  deepEqual((await spool.list()).map((entry) => entry.containerId), ["c2"]);
  await spool.putBack(name);
  equal(await spool.count(), 1);
});

Deno.test("forget() drops what is just being taken", async () => {
  for (let round = 0; round < 20; round++) {
    using dir = makeDir();
    const spool = createSpool(dir.path);
    await leaveInOrder(dir.path, [delOf("c1")]);
    const [first] = await spool.list();
    const name = first?.name ?? "";
    const taking = spool.take(name).catch(() => undefined);
    await spool.forget("c1");
    await taking;
    deepEqual([await spool.isTaken(name), await spool.count()], [false, 0]);
  }
});

Deno.test("onLeave() tells of each request that is left, until it is disposed of", async () => {
  using dir = makeDir();
  const spool = createSpool(dir.path);
  let told = 0;
  const listening = spool.onLeave(() => told++);
  await spool.leave(delOf("c1"));
  listening[Symbol.dispose]();
  await spool.leave(delOf("c2"));
  equal(told, 1);
});
