import { deepEqual, equal } from "node:assert/strict";
import { leaveRequest } from "../wire/spool_file.ts";
import { dropPending, listPending } from "./pending.ts";

async function withSpool(
  use: (stateDir: string) => Promise<void>,
): Promise<void> {
  const stateDir = await Deno.makeTempDir();
  try {
    await use(stateDir);
  } finally {
    await Deno.remove(stateDir, { recursive: true });
  }
}

function request(containerId: string, args: string): Parameters<
  typeof leaveRequest
>[1] {
  const env = {
    CNI_COMMAND: "DEL",
    CNI_CONTAINERID: containerId,
    CNI_ARGS: args,
  };
  return { env, config: btoa("{}") };
}

Deno.test("listPending() lists nothing where nothing was ever left", () =>
  withSpool(async (stateDir) => {
    deepEqual(await listPending(stateDir), []);
  }));

Deno.test("listPending() lists what waits and what is worked on, dropPending() takes it off the list", () =>
  withSpool(async (stateDir) => {
    const dir = `${stateDir}/spool`;
    await leaveRequest(
      dir,
      request("one", "K8S_POD_NAMESPACE=ns;K8S_POD_NAME=web"),
    );
    const taken = await leaveRequest(dir, request("two", "not arguments"));
    await Deno.mkdir(`${dir}/taken`);
    await Deno.rename(taken, taken.replace(dir, `${dir}/taken`));
    await Deno.writeTextFile(`${dir}/rubbish`, "");
    const pending = await listPending(stateDir);
    deepEqual(
      pending.map(({ containerId, pod }) => [containerId, pod])
        .toSorted(([a = ""], [b = ""]) => a < b ? -1 : 1),
      [["one", "ns/web"], ["two", undefined]],
    );
    for (const one of pending) await dropPending(one);
    equal((await listPending(stateDir)).length, 0);
  }));
