import { deepEqual, equal, rejects } from "node:assert/strict";
import type { Exec } from "../cni/exec.ts";
import { withFoundPlugins } from "./found_plugins.ts";

/** Has a plugin in each directory but "/none", and says where it was looked for. */
function createExec(): { exec: Exec; asked: string[] } {
  const asked: string[] = [];
  const exec: Exec = {
    findInPath: (type, dirs) => {
      asked.push(`${type} in ${dirs.join()}`);
      const [dir] = dirs;
      return dir === "/none"
        ? Promise.reject(new RangeError("none"))
        : Promise.resolve(`${dir}/${type}`);
    },
    run: ({ path }) =>
      Promise.resolve({ code: 0, signal: null, stdout: path, stderr: "" }),
  };
  return { exec, asked };
}

Deno.test("withFoundPlugins() looks once for a plugin in the same directories, and runs what it found", async () => {
  const { exec, asked } = createExec();
  const wrapped = withFoundPlugins(exec);
  const path = await wrapped.findInPath("bridge", ["/a", "/b"]);
  equal(await wrapped.findInPath("bridge", ["/a", "/b"]), path);
  equal(await wrapped.findInPath("vlan", ["/a", "/b"]), "/a/vlan");
  equal(await wrapped.findInPath("bridge", ["/b"]), "/b/bridge");
  deepEqual(asked, ["bridge in /a,/b", "vlan in /a,/b", "bridge in /b"]);
  const signal = new AbortController().signal;
  const call = { path, env: {}, stdin: "", signal };
  equal((await wrapped.run(call)).stdout, "/a/bridge");
});

Deno.test("withFoundPlugins() looks again for what was not there", async () => {
  const { exec, asked } = createExec();
  const wrapped = withFoundPlugins(exec);
  await rejects(wrapped.findInPath("bridge", ["/none"]), RangeError);
  await rejects(wrapped.findInPath("bridge", ["/none"]), RangeError);
  equal(asked.length, 2);
});
