/**
 * `deno task permissions`: writes the tables of `deployments/PERMISSIONS.md`
 * from `lib/grants.ts`, the profiles and `grant_notes.ts`, between the marks
 * that stand there; the prose around them is written by hand. With `--check`
 * it writes nothing and exits 1 when a table is not up to date.
 *
 * Needs: read of the tree; write of the document unless it only checks.
 */
import { join } from "node:path";
import { parseProfile } from "../lib/cli/profile.ts";
import { renderMarkdownTable } from "../lib/cli/table.ts";
import {
  type Executable,
  type Grant,
  type GrantKind,
  grantsOf,
  type Profile,
} from "../lib/grants.ts";
import { GRANT_NOTES, type GrantNote } from "./grant_notes.ts";

/** Where this document is, and what it is made from. */
const DEPLOYMENTS = import.meta.dirname ?? "";
const DOCUMENT = join(DEPLOYMENTS, "PERMISSIONS.md");

/** What the build works out by itself; on a node it depends on where things were installed. */
const PLACES = {
  deno: "/usr/bin/deno",
  hostDeno: "/usr/bin/deno",
  programDir: "/usr/libexec/multus",
};

/** Members that few profiles have, as examples. */
const OPTIONAL = {
  kubeconfigFiles: ["/etc/cni/net.d/multus.d/multus.kubeconfig"],
  certDir: "/etc/cni/net.d/multus.d/certs",
  metrics: "0.0.0.0:9091",
  readinessIndicatorFile: "/host/etc/cni/net.d/10-calico.conflist",
  logFile: "/var/log/multus/multus.log",
  manifestDirs: ["/etc/multus/manifests"],
};

/** The profiles that the document shows. */
export interface Profiles {
  /** The one that a DaemonSet has unless another is given. */
  readonly pod: Profile;
  /** The same with everything that a profile may have. */
  readonly full: Profile;
  /** A daemon that runs on the host itself. */
  readonly host: Profile;
}

/** All grants of one purpose. */
interface Row {
  readonly purpose: string;
  readonly grants: readonly Grant[];
  readonly note: GrantNote;
}

/** A reason of the table without its note; that plugins are many is no reason of its own. */
export class UnexplainedGrantError extends Error {
  /** The name of the class. */
  override readonly name = "UnexplainedGrantError";
}

/** The reason as the notes have it: a socket's three grants serve one purpose, as do all plugins. */
function purposeOf({ why }: Grant): string {
  return why.replace(/: Deno asks for (?:read|write) to connect$/, "")
    .replace(/^Run the plugin .*$/, "Run a plugin");
}

/**
 * The grants of `executable` by purpose, in the order of the table.
 */
function rowsOf(executable: Executable, profile: Profile): Row[] {
  const grants = grantsOf(executable, profile);
  const purposes = [...new Set(grants.map(purposeOf))];
  return purposes.map((purpose) => {
    const note = GRANT_NOTES[executable][purpose];
    if (note === undefined) {
      throw new UnexplainedGrantError(
        `deployments/grant_notes.ts has no note on a grant of ${executable}: ${purpose}`,
      );
    }
    const own = grants.filter((grant) => purposeOf(grant) === purpose);
    return { purpose, grants: own, note };
  });
}

/** The values by kind, a line for each. */
function renderGrants(grants: readonly Grant[]): string {
  const kinds = [...new Set(grants.map(({ kind }) => kind))];
  return kinds.map((kind) => {
    const values = grants.filter((grant) => grant.kind === kind)
      .map(({ value }) => `\`${value}\``);
    return `${kind} ${values.join(", ")}`;
  }).join("<br>");
}

function renderRows(rows: readonly Row[]): string {
  return renderMarkdownTable({
    headings: [
      "Grant",
      "Why it is there",
      "With it, who owns the process can",
      "But cannot",
      "Needed by",
    ],
    rows: rows.map(({ purpose, grants, note }) => [
      renderGrants(grants),
      purpose,
      note.can,
      note.cannot,
      note.tests.map((test) => `\`${test}\``).join(", "),
    ]),
  });
}

/** What stands in `rows` and for no reason of `known`. */
function without(rows: readonly Row[], known: readonly Row[]): Row[] {
  const purposes = known.map(({ purpose }) => purpose);
  return rows.filter(({ purpose }) => !purposes.includes(purpose));
}

function valuesOf(profile: Profile, kinds: readonly GrantKind[]): string {
  const values = grantsOf("multus-daemon", profile)
    .filter(({ kind }) => kinds.includes(kind))
    .map(({ value }) => `\`${value}\``);
  return [...new Set(values)].join(", ");
}

/** What the same node gives away, by what is asked for. */
function renderComparison({ pod }: Profiles): string {
  return renderMarkdownTable({
    headings: ["", "multus-daemon", "The Go daemon's container"],
    rows: [
      [
        "Start a program",
        `${
          valuesOf(pod, ["run"])
        }, and by the first of them the plugins that are installed`,
        "Any of the container and, by `chroot` or in the namespaces of process 1, any of the host",
      ],
      [
        "Read a file",
        valuesOf(pod, ["read"]),
        "Every file of the host: `/etc/shadow`, the kubelet's keys, the secrets and tokens of every pod of the node",
      ],
      [
        "Write a file",
        valuesOf(pod, ["write"]),
        "Every file of the host: programs, units of systemd, keys for `ssh`, the CNI plugins themselves",
      ],
      [
        "Reach an address",
        valuesOf(pod, ["net"]),
        "Every host that the node reaches, the node's own ports and every unix socket, the container runtime's among them",
      ],
      [
        "See the environment",
        `${valuesOf(pod, ["env"])}; all others read as not set`,
        "All of it, and with `hostPID` that of every process of the node",
      ],
      [
        "Other processes",
        "None; it can end its own plugins",
        "All of the node (`hostPID`): end them, read their memory, enter their namespaces",
      ],
      [
        "Kernel and devices",
        `What the plugins do; ${valuesOf(pod, ["sys"])} can be asked for`,
        "All capabilities and devices (`privileged`): mount, load modules, write to disks",
      ],
      [
        "Load code",
        "No libraries, no imports, no prompt that could allow more",
        "Whatever it can write",
      ],
      [
        "The API server",
        "What the ClusterRole says: Deno has no part in it",
        "What the ClusterRole says",
      ],
    ],
  });
}

const RENDERERS: Readonly<Record<string, (profiles: Profiles) => string>> = {
  "multus-shim": ({ pod }) => renderRows(rowsOf("multus-shim", pod)),
  "multus-daemon": ({ pod }) => renderRows(rowsOf("multus-daemon", pod)),
  "multus-daemon, where the profile has it": ({ pod, full }) =>
    renderRows(
      without(rowsOf("multus-daemon", full), rowsOf("multus-daemon", pod)),
    ),
  "multus-daemon, outside a pod": ({ full, host }) =>
    renderRows(
      without(rowsOf("multus-daemon", host), rowsOf("multus-daemon", full)),
    ),
  "multusctl": ({ pod }) => renderRows(rowsOf("multusctl", pod)),
  "comparison": renderComparison,
};

/** The document has not all the marks that it should, or others. */
export class MarkError extends SyntaxError {
  /** The name of the class. */
  override readonly name = "MarkError";
}

/**
 * The document with its tables as they should be.
 *
 * @throws {UnexplainedGrantError} when there is no note on a purpose.
 * @throws {MarkError} when the place of a table is missing or not known.
 */
export function renderPermissions(text: string, profiles: Profiles): string {
  const placed = new Set<string>();
  const rendered = text.replaceAll(
    /(<!-- table: (.+) -->\n)[^]*?(<!-- end -->)/g,
    (_, start: string, name: string, end: string) => {
      const render = RENDERERS[name];
      if (render === undefined) {
        throw new MarkError(`There is no such table: ${name}`);
      }
      placed.add(name);
      return `${start}\n${render(profiles)}\n${end}`;
    },
  );
  const missing = Object.keys(RENDERERS).find((name) => !placed.has(name));
  if (missing === undefined) return rendered;
  throw new MarkError(`The document has no place for a table: ${missing}`);
}

async function readProfile(name: string): Promise<Profile> {
  const path = join(DEPLOYMENTS, "profiles", name);
  return parseProfile(await Deno.readTextFile(path), PLACES);
}

/** The profiles that are shipped, as the document shows them. */
export async function readProfiles(): Promise<Profiles> {
  const pod = await readProfile("daemonset.json");
  const full = { ...pod, ...OPTIONAL };
  return { pod, full, host: await readProfile("host.json") };
}

/** All reasons that can occur on a node of one of `profiles`. */
export function listPurposes(
  executable: Executable,
  profiles: Profiles,
): string[] {
  const all = Object.values(profiles).flatMap((profile) =>
    grantsOf(executable, profile).map(purposeOf)
  );
  return [...new Set(all)];
}

/** Writes the document, or only looks; a line that says what came of it, where there is anything to say. */
async function update(
  options: { readonly isCheck: boolean },
): Promise<{ code: number; said?: string }> {
  const text = await Deno.readTextFile(DOCUMENT);
  const wanted = renderPermissions(text, await readProfiles());
  if (text === wanted) return { code: 0 };
  if (options.isCheck) {
    const said =
      "deployments/PERMISSIONS.md does not say what lib/grants.ts says: run deno task permissions";
    return { code: 1, said };
  }
  await Deno.writeTextFile(DOCUMENT, wanted);
  return { code: 0, said: "Wrote deployments/PERMISSIONS.md" };
}

async function main(args: readonly string[]): Promise<number> {
  const encoder = new TextEncoder();
  const say = (line: string): void =>
    void Deno.stderr.writeSync(encoder.encode(`${line}\n`));
  const isCheck = args[0] === "--check";
  if (args.length > (isCheck ? 1 : 0)) {
    say("Usage: deno task permissions [--check]");
    return 2;
  }
  try {
    const { code, said } = await update({ isCheck });
    if (said !== undefined) say(said);
    return code;
  } catch (error) {
    say(error instanceof Error ? error.message : String(error));
    return 1;
  }
}

if (import.meta.main) Deno.exitCode = await main(Deno.args);
