/**
 * Which permissions the programs asked for while the end-to-end tests ran
 * (`DENO_AUDIT_PERMISSIONS`), held against the table: what was asked for and
 * is not granted, and which grants were used. Each test node adds what its
 * programs asked for; `tests/grants_used.ts` judges when all tests are over.
 *
 * Deno's audit does not name programs that are run (2.9.6): those come from
 * what the daemon logs and from the tests that see their effect.
 */
import { join } from "node:path";
import {
  type Executable,
  EXECUTABLES,
  type Grant,
  grantsOf,
  type Profile,
} from "../lib/grants.ts";

/** Names the directory that collects what test nodes found. */
export const AUDIT_DIR = "MULTUS_TEST_AUDIT";

/** One permission that a program asked for. */
interface Asked {
  readonly permission: string;
  readonly value: string;
}

/** What one test node's programs asked for. */
export interface AuditSummary {
  readonly executable: Executable;
  /** The grants that covered something: kind and reason, since paths differ from node to node. */
  readonly used: readonly string[];
  /** What no grant covers. */
  readonly outside: readonly string[];
}

/** How a grant is named across nodes. */
export function nameOf(grant: Grant): string {
  const why = grant.why.replace(/^Run the plugin .*$/, "Run a plugin");
  return grant.kind === "env" ? `env ${grant.value}` : `${grant.kind}: ${why}`;
}

function isWithin(path: string, dir: string): boolean {
  return path === dir || path.startsWith(dir.endsWith("/") ? dir : `${dir}/`);
}

function isCovered(asked: Asked, grant: Grant): boolean {
  if (grant.kind !== asked.permission) return false;
  if (grant.kind === "read" || grant.kind === "write") {
    return isWithin(asked.value, grant.value);
  }
  const address = addressOf(asked.value);
  // A host without a port is granted with all of them.
  return [asked.value, address, address.replace(/:\d+$/, "")].includes(
    grant.value,
  );
}

/** `host:port` of what fetch asks for, which is a whole URL. */
function addressOf(value: string): string {
  return URL.canParse(value) ? new URL(value).host : value;
}

/** What tests of bad input have programs ask for, in vain; they are nowhere, and in no profile. */
const ASKED_IN_VAIN: readonly string[] = [
  "/run/elsewhere",
  "/nowhere",
  "relative",
];

/**
 * Asked for and meant to be refused: what libraries look for in the
 * environment at import reads as not set (`--ignore-env`), and Deno itself
 * asks for a few at its start.
 */
function isIgnored(asked: Asked): boolean {
  return asked.permission === "env" ||
    ASKED_IN_VAIN.some((path) => isWithin(asked.value, path));
}

/**
 * A directory above a granted one: a link on the way is looked for there, in
 * vain, and the search goes on with what is granted (`host_root_exec.ts`).
 */
function isAbove(asked: Asked, grants: readonly Grant[]): boolean {
  return asked.permission === "read" &&
    grants.some(({ kind, value }) =>
      kind === "read" && isWithin(value, asked.value)
    );
}

/** Sums up what one process asked for, from its audit file. */
export function summarize(
  executable: Executable,
  profile: Profile,
  audit: string,
): AuditSummary {
  const grants = grantsOf(executable, profile);
  const used = new Set<string>();
  const outside = new Set<string>();
  for (const line of audit.split("\n")) {
    if (line === "") continue;
    const asked = JSON.parse(line) as Asked;
    const covering = grants.filter((grant) => isCovered(asked, grant));
    for (const grant of covering) used.add(nameOf(grant));
    if (
      covering.length === 0 && !isIgnored(asked) && !isAbove(asked, grants)
    ) {
      outside.add(`${asked.permission} ${asked.value}`);
    }
  }
  return { executable, used: [...used], outside: [...outside] };
}

/** The audit directory of this test run; `undefined` when nobody collects. */
export function auditDir(): string | undefined {
  return Deno.env.get(AUDIT_DIR);
}

/** The environment of a program whose permissions are audited into `dir`. */
export function auditEnv(
  executable: Executable,
  dir: string,
): Record<string, string> {
  return {
    DENO_AUDIT_PERMISSIONS: join(
      dir,
      `${executable}-${crypto.randomUUID()}.jsonl`,
    ),
  };
}

/** Adds what the programs of a node asked for to the run's collection. */
export async function collect(profile: Profile, dir: string): Promise<void> {
  const target = auditDir();
  if (target === undefined) return;
  const summaries: AuditSummary[] = [];
  for await (const entry of Deno.readDir(dir)) {
    const executable = EXECUTABLES.find((name) =>
      entry.name.startsWith(`${name}-`)
    );
    if (executable === undefined) continue;
    summaries.push(
      summarize(
        executable,
        profile,
        await Deno.readTextFile(join(dir, entry.name)),
      ),
    );
  }
  await Deno.writeTextFile(
    join(target, `${crypto.randomUUID()}.json`),
    JSON.stringify(summaries),
  );
}

/** All that was collected. */
export async function readCollection(dir: string): Promise<AuditSummary[]> {
  const all: AuditSummary[] = [];
  for await (const entry of Deno.readDir(dir)) {
    all.push(
      ...JSON.parse(
        await Deno.readTextFile(join(dir, entry.name)),
      ) as AuditSummary[],
    );
  }
  return all;
}
