import assert from "node:assert/strict";
import type { Exec } from "../cni/exec.ts";
import { withOwnPath } from "./plugin_path.ts";

/** What a plugin is given for a CNI_PATH. */
async function pathGiven(path: string): Promise<string | undefined> {
  let given: string | undefined;
  const exec: Exec = {
    findInPath: () => Promise.reject(new RangeError("Not asked for")),
    run: ({ env }) => {
      given = env.CNI_PATH;
      return Promise.resolve({ code: 0, signal: null, stdout: "", stderr: "" });
    },
  };
  await withOwnPath(exec, "/var/lib/cni/multus").run({
    path: "/opt/cni/bin/bridge",
    env: { CNI_PATH: path },
    stdin: "",
    signal: new AbortController().signal,
  });
  return given;
}

Deno.test({
  name: "withOwnPath() leaves directories that are read and not written",
  permissions: {
    read: ["/opt/cni/bin", "/usr/lib/cni", "/etc/cni", "/var/lib/cni/multus"],
    write: ["/etc/cni/net.d", "/var/lib/cni/multus/spool"],
  },
  async fn(t): Promise<void> {
    const cases: [path: string, given: string][] = [
      ["", ""],
      ["/opt/cni/bin:/usr/lib/cni/", "/opt/cni/bin:/usr/lib/cni/"],
      ["/opt/cni/bin:/tmp:/home/x", "/opt/cni/bin"],
      ["/var/lib/cni/multus/spool/taken:/opt/cni/bin", "/opt/cni/bin"],
      ["/var/lib/cni/multus:/var/lib/cni/multus/results", ""],
      ["/opt/cni/bin/../../../var/lib/cni/multus/spool", ""],
      ["/etc/cni/net.d:/etc/cni/net.d/x", ""],
      ["opt/cni/bin:.:./x", ""],
    ];
    for (const [path, given] of cases) {
      await t.step(JSON.stringify(path), async () => {
        assert.equal(await pathGiven(path), given);
      });
    }
  },
});

Deno.test({
  name:
    "withOwnPath() still leaves the state directory out when all may be written",
  permissions: { read: true, write: true },
  async fn(): Promise<void> {
    const path = "/opt/cni/bin:/var/lib/cni/multus/spool/taken";
    assert.equal(await pathGiven(path), "/opt/cni/bin");
  },
});
