import { deepEqual, equal, ok, throws } from "node:assert/strict";
import { grantsOf, type Profile } from "../grants.ts";
import { formatProfile, parseProfile } from "./profile.ts";

const PROFILES = new URL("../../deployments/profiles/", import.meta.url);
const BASE = {
  deno: "/usr/bin/deno",
  hostDeno: "/usr/bin/deno",
  programDir: "/usr/libexec/multus",
};

async function readProfiles(): Promise<[name: string, profile: Profile][]> {
  const profiles: [string, Profile][] = [];
  for await (const { name } of Deno.readDir(PROFILES)) {
    const text = await Deno.readTextFile(new URL(name, PROFILES));
    profiles.push([name, parseProfile(text, BASE)]);
  }
  return profiles;
}

Deno.test("parseProfile() reads every profile that is shipped, and formatProfile() writes it so that nothing is left out", async (t) => {
  const profiles = await readProfiles();
  ok(profiles.length > 0);
  for (const [name, profile] of profiles) {
    await t.step(name, () => {
      deepEqual(parseProfile(formatProfile(profile), {}), profile);
    });
  }
});

Deno.test("grantsOf() grants the daemon programs in exactly one way on every profile that is shipped", async (t) => {
  for (const [name, profile] of await readProfiles()) {
    await t.step(name, () => {
      const run = grantsOf("multus-daemon", profile)
        .filter(({ kind }) => kind === "run").map(({ value }) => value);
      const scripts = ["delegate-exec", "default-route"]
        .map((script) => `${profile.libexecDir}/${script}`);
      const plugins = profile.hostRoot === undefined
        ? profile.cniBinDirs.flatMap((dir) =>
          profile.plugins.map((plugin) => `${dir}/${plugin}`)
        )
        : [];
      deepEqual(run, [...scripts, ...plugins]);
    });
  }
});

Deno.test("parseProfile() takes a member of the base away where the text says null", () => {
  const [logFile, hostRoot] = ["/var/log/multus/multus.log", "/hostroot"];
  const text = JSON.stringify({ ...FULL, logFile, hostRoot: null });
  const profile = parseProfile(text, { hostRoot });
  equal(profile.logFile, logFile);
  ok(!("hostRoot" in profile));
});

/** All that a profile must have. */
const FULL = {
  ...BASE,
  socketDir: "/run/multus",
  hostSocketDir: "/run/multus",
  cniConfDir: "/etc/cni/net.d",
  multusConfDir: "/etc/cni/multus/net.d",
  cniBinDirs: ["/opt/cni/bin"],
  cniStateDir: "/var/lib/cni/multus",
  daemonConfig: "/etc/multus.json",
  libexecDir: "/usr/libexec/multus",
  plugins: [],
  serviceAccountDir: "/sa",
  kubeconfigFiles: [],
  apiServers: ["10.96.0.1:443"],
  podResourcesSocket: "/k.sock",
  deviceCheckpoint: "/checkpoint",
  deviceInfoDir: "/devinfo",
};

Deno.test("parseProfile() names what is wrong", async (t) => {
  const rows: readonly (readonly [changes: object, expected: RegExp])[] = [
    [{ socketDir: null }, /^TypeError: Profile lacks a member: socketDir$/],
    [{ sockDir: "/x" }, /unknown member: sockDir$/],
    [{ socketDir: "run" }, /an absolute path.*: socketDir: "run"$/],
    [{ socketDir: "/a,/" }, /without comma.*: socketDir: "\/a,\/"$/],
    [{ socketDir: "/a\u2028" }, /control characters.*: socketDir/],
    [{ cniBinDirs: [] }, /wrong shape.*: cniBinDirs: \[\]$/],
    [{ cniBinDirs: ["/a", "b"] }, /an absolute path.*: cniBinDirs\.1: /],
    [{ plugins: ["../sh"] }, /a plain file name.*: plugins\.0: /],
    [{ apiServers: ["a b"] }, /host:port.*: apiServers\.0: /],
    [{ metrics: 9091 }, /wrong shape: metrics: 9091$/],
  ];
  for (const [changes, expected] of rows) {
    await t.step(JSON.stringify(changes), () => {
      const text = JSON.stringify({ ...FULL, ...changes });
      throws(() => parseProfile(text, {}), expected);
    });
  }
  await t.step("no JSON", () => {
    throws(() => parseProfile("{", {}), /^SyntaxError: Profile is not JSON: /);
  });
});

Deno.test("parseProfile() refuses a log file in a directory that is not its own", async (t) => {
  const hostRoot = "/hostroot";
  const refused: readonly (readonly [logFile: string, changes?: object])[] = [
    ["/multus.log"],
    ["/var/log/multus.log"],
    ["/var/log//multus.log"],
    ["/var/log/multus/../multus.log"],
    ["/tmp/multus.log"],
    ["/run/multus.log"],
    ["/etc/multus.log"],
    ["/home/multus.log"],
    ["/host/var/log/multus.log"],
    ["/host/multus.log"],
    ["/hostroot/var/log/multus.log", { hostRoot }],
    ["/hostroot/multus.log", { hostRoot }],
    ["/opt/cni/bin/multus.log"],
    ["/opt/cni/multus.log"],
    ["/hostroot/opt/cni/bin/multus.log", { hostRoot }],
    ["/usr/libexec/multus/multus.log"],
  ];
  for (const [logFile, changes] of refused) {
    await t.step(logFile, () => {
      const text = JSON.stringify({ ...FULL, ...changes, logFile });
      throws(() => parseProfile(text, {}), (error) => {
        ok(error instanceof TypeError, String(error));
        ok(error.message.includes("such as /var/log/multus"), error.message);
        ok(error.message.endsWith(`logFile: "${logFile}"`), error.message);
        return true;
      });
    });
  }
  const fine = ["/var/log/multus/m.log", "/host/var/log/multus/m.log"];
  for (const logFile of [...fine, "/opt/logs/m.log", "/tmp/x/m.log"]) {
    await t.step(logFile, () => {
      const text = JSON.stringify({ ...FULL, hostRoot, logFile });
      equal(parseProfile(text, {}).logFile, logFile);
    });
  }
});

Deno.test("grantsOf() lets no daemon of a shipped profile change its configuration or credentials", async (t) => {
  for (const [name, profile] of await readProfiles()) {
    await t.step(name, () => {
      const { daemonConfig, kubeconfigFiles, serviceAccountDir } = profile;
      const written = grantsOf("multus-daemon", profile)
        .filter(({ kind }) => kind === "write").map(({ value }) => value);
      for (
        const path of [daemonConfig, ...kubeconfigFiles, serviceAccountDir]
      ) {
        const dir = written.find((dir) => `${path}/`.startsWith(`${dir}/`));
        equal(dir, undefined, path);
      }
    });
  }
});
