/**
 * The judgement after all end-to-end tests: nothing that a program asked for
 * is outside its grants, and no grant is there that nothing ever used. Run by
 * `tests/run.ts` once the collection is complete; it is no test file of its
 * own, because alone it would have nothing to judge.
 */
import assert from "node:assert/strict";
import { EXECUTABLES, grantsOf, type Profile } from "../lib/grants.ts";
import { AUDIT_DIR, nameOf, readCollection } from "./audit.ts";

/** A profile in which every part is there, so that every grant of the table stands in it. */
const EVERYTHING: Profile = {
  socketDir: "/s",
  hostSocketDir: "/hs",
  cniConfDir: "/c",
  multusConfDir: "/m",
  cniBinDirs: ["/b"],
  cniStateDir: "/st",
  daemonConfig: "/d",
  libexecDir: "/l",
  plugins: ["p"],
  serviceAccountDir: "/sa",
  kubeconfigFiles: ["/k"],
  certDir: "/cd",
  apiServers: ["a:1"],
  podResourcesSocket: "/pr",
  deviceCheckpoint: "/dc",
  deviceInfoDir: "/di",
  readinessIndicatorFile: "/r",
  metrics: "0.0.0.0:1",
  logFile: "/lf",
  ipProgram: "/ip",
  manifestDirs: ["/mf"],
  deno: "/deno",
  hostDeno: "/hd",
  programDir: "/pd",
};

const summaries = await readCollection(Deno.env.get(AUDIT_DIR) ?? "");

for (const executable of EXECUTABLES) {
  const own = summaries.filter((summary) => summary.executable === executable);
  Deno.test(`${executable} asks for nothing outside its grants`, () => {
    const outside = new Set(own.flatMap((summary) => summary.outside));
    assert.deepEqual([...outside], []);
  });

  Deno.test(`${executable} has no grant that no test needs`, () => {
    const used = new Set(own.flatMap((summary) => summary.used));
    // The audit does not name programs: attach_test and the script tests see their effect.
    const judged = grantsOf(executable, EVERYTHING).filter((grant) =>
      grant.kind !== "run"
    );
    const unused = new Set(
      judged.map(nameOf).filter((name) => !used.has(name)),
    );
    assert.deepEqual([...unused], []);
  });
}
