import { deepEqual, equal, match, notEqual, rejects } from "node:assert/strict";
import type { CniRequest } from "./request.ts";
import {
  formatSpoolName,
  leaveRequest,
  parseSpoolName,
  SPOOL_BYTES_MAX,
  SPOOL_COUNT_MAX,
  withdrawRequest,
} from "./spool_file.ts";

function makeDir(): { readonly path: string } & Disposable {
  const path = Deno.makeTempDirSync({ prefix: "spool" });
  return {
    path,
    [Symbol.dispose]: () => Deno.removeSync(path, { recursive: true }),
  };
}

function requestOf(env: Record<string, string>): CniRequest {
  const base = { CNI_COMMAND: "DEL", CNI_CONTAINERID: "c1" };
  return { env: { ...base, ...env }, config: "e30=" };
}

function listNames(dir: string): string[] {
  return [...Deno.readDirSync(dir)].map((entry) => entry.name).sort();
}

Deno.test("leaveRequest() writes a private file that holds the request", async () => {
  using dir = makeDir();
  const spool = `${dir.path}/a/spool`;
  const request = requestOf({ CNI_IFNAME: "eth0" });
  const path = await leaveRequest(spool, request);
  deepEqual(JSON.parse(await Deno.readTextFile(path)), request);
  deepEqual(listNames(spool), [path.slice(spool.length + 1)]);
  equal(((await Deno.stat(spool)).mode ?? 0) & 0o777, 0o700);
  equal(((await Deno.stat(path)).mode ?? 0) & 0o777, 0o600);
});

Deno.test("leaveRequest() makes one file of the same request, whatever its trace", async () => {
  using dir = makeDir();
  const first = await leaveRequest(
    dir.path,
    requestOf({ TRACEPARENT: "00-1" }),
  );
  const all = Array.from({ length: 20 }, (_, index) => {
    return leaveRequest(dir.path, requestOf({ TRACEPARENT: `00-${index}` }));
  });
  deepEqual(new Set(await Promise.all(all)), new Set([first]));
  const other = await leaveRequest(dir.path, requestOf({ CNI_IFNAME: "net1" }));
  notEqual(other, first);
  equal(listNames(dir.path).length, 2);
});

Deno.test("leaveRequest() refuses one that is too large", async () => {
  using dir = makeDir();
  const request = { ...requestOf({}), config: "A".repeat(2 * 1024 * 1024) };
  await rejects(leaveRequest(dir.path, request), RangeError);
  deepEqual(listNames(dir.path), []);
});

Deno.test("leaveRequest() refuses more files than the limit, but not one that is there", async () => {
  using dir = makeDir();
  const path = await leaveRequest(dir.path, requestOf({}));
  for (let index = 1; index < SPOOL_COUNT_MAX; index++) {
    await Deno.writeTextFile(`${dir.path}/${index}`, "");
  }
  const full = {
    name: "RangeError",
    message: /^It is full of DELs that wait for the daemon /,
  };
  await rejects(leaveRequest(dir.path, requestOf({ CNI_IFNAME: "x" })), full);
  equal(await leaveRequest(dir.path, requestOf({})), path);
  equal(listNames(dir.path).length, SPOOL_COUNT_MAX);
});

Deno.test("leaveRequest() refuses more bytes than the limit", async () => {
  using dir = makeDir();
  const sparse = await Deno.create(`${dir.path}/large`);
  await sparse.truncate(SPOOL_BYTES_MAX);
  sparse.close();
  await rejects(leaveRequest(dir.path, requestOf({})), RangeError);
  deepEqual(listNames(dir.path), ["large"]);
});

Deno.test("leaveRequest() leaves nothing behind when it cannot write", async () => {
  using dir = makeDir();
  await Deno.writeTextFile(`${dir.path}/spool`, "a file, not a directory");
  await rejects(leaveRequest(`${dir.path}/spool`, requestOf({})));
  deepEqual(listNames(dir.path), ["spool"]);
});

Deno.test("withdrawRequest() takes a request back, and does not mind when it is gone", async () => {
  using dir = makeDir();
  const path = await leaveRequest(dir.path, requestOf({}));
  await withdrawRequest(path);
  await withdrawRequest(path);
  deepEqual(listNames(dir.path), []);
});

Deno.test("parseSpoolName() takes apart what formatSpoolName() made", async (t) => {
  for (const id of ["c1", "a.b-c_d", "f".repeat(64), "g".repeat(300)]) {
    await t.step(id.slice(0, 16), async () => {
      const name = await formatSpoolName(id, "text");
      match(name, /^.{1,200}$/);
      const parsed = parseSpoolName(name);
      equal(parsed?.containerId, id.slice(0, 128));
      match(parsed?.hash ?? "", /^[0-9a-f]{32}$/);
    });
  }
  for (const name of ["", ".x.tmp", "c1@12.json", "c1.json", "@x.json"]) {
    equal(parseSpoolName(name), undefined);
  }
});
