import { deepEqual, equal, rejects } from "node:assert/strict";
import type { Exec } from "../cni/exec.ts";
import { SUPPORTED_VERSIONS } from "../cni/version.ts";
import { withPassthru } from "./passthru.ts";

/** Finds and runs nothing, and says what was asked of it. */
function createSilentExec(): { exec: Exec; asked: string[] } {
  const asked: string[] = [];
  const exec: Exec = {
    findInPath: (type) => {
      asked.push(`find ${type}`);
      return Promise.resolve(`/bin/${type}`);
    },
    run: ({ path }) => {
      asked.push(`run ${path}`);
      return Promise.reject(new RangeError("not run"));
    },
  };
  return { exec, asked };
}

async function run(
  command: string,
  stdin: unknown,
): Promise<{ code: number; stdout: string }> {
  const { exec, asked } = createSilentExec();
  const wrapped = withPassthru(exec);
  const path = await wrapped.findInPath("passthru", ["/opt/cni/bin"]);
  const outcome = await wrapped.run({
    path,
    env: { CNI_COMMAND: command },
    stdin: JSON.stringify(stdin),
    signal: new AbortController().signal,
  });
  deepEqual(asked, [], "no program is looked for, none is run");
  return outcome;
}

Deno.test("withPassthru() hands on prevResult in every version", async () => {
  for (const cniVersion of SUPPORTED_VERSIONS) {
    const prevResult = cniVersion < "0.3.0"
      ? { cniVersion, ip4: { ip: "10.0.0.2/24" } }
      : {
        cniVersion,
        ips: [{
          ...(cniVersion < "1.0.0" ? { version: "4" } : {}),
          address: "10.0.0.2/24",
        }],
      };
    const { code, stdout } = await run("ADD", { cniVersion, prevResult });
    equal(code, 0);
    const { interfaces: _, ...answer } = JSON.parse(stdout);
    deepEqual(answer, prevResult);
  }
});

Deno.test("withPassthru() has an empty result when nothing came before", async () => {
  const { stdout } = await run("ADD", { cniVersion: "1.0.0" });
  deepEqual(JSON.parse(stdout), { cniVersion: "1.0.0" });
});

Deno.test("withPassthru() has nothing to say to the other commands", async () => {
  for (const command of ["DEL", "CHECK", "GC", "STATUS"]) {
    deepEqual(await run(command, { cniVersion: "1.1.0" }), {
      code: 0,
      signal: null,
      stdout: "",
      stderr: "",
    });
  }
  const { stdout } = await run("VERSION", { cniVersion: "1.0.0" });
  equal(JSON.parse(stdout).cniVersion, "1.0.0");
});

Deno.test("withPassthru() leaves every other plugin to the Exec behind", async () => {
  const { exec, asked } = createSilentExec();
  const wrapped = withPassthru(exec);
  const path = await wrapped.findInPath("bridge", ["/opt/cni/bin"]);
  const call = {
    path,
    env: {},
    stdin: "{}",
    signal: new AbortController().signal,
  };
  await rejects(wrapped.run(call), RangeError);
  deepEqual(asked, ["find bridge", "run /bin/bridge"]);
});
