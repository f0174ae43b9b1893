/**
 * Profiles: the paths and addresses of one kind of node, as files. A profile
 * is what `lib/grants.ts` works the permissions out from; this module reads
 * one and writes one. The build leaves the one it used beside what it built.
 */
import { dirname, normalize } from "node:path";
import * as z from "zod/mini";
import { type Profile, seenBinDirs } from "../grants.ts";

const AbsolutePath = z.string().check(
  z.regex(
    /^\/[^,\p{Cc}\u2028\u2029]*$/u,
    "an absolute path without comma and control characters",
  ),
);
const NetAddress = z.string().check(
  z.regex(/^[^\s,\p{Cc}]+$/u, "a host, host:port or range without comma"),
);
const PluginName = z.string().check(
  z.regex(/^[A-Za-z0-9][A-Za-z0-9._-]*$/, "a plain file name"),
);

const ProfileFile = z.strictObject({
  socketDir: AbsolutePath,
  hostSocketDir: AbsolutePath,
  cniConfDir: AbsolutePath,
  autoconfigDir: z.optional(AbsolutePath),
  multusConfDir: AbsolutePath,
  cniBinDirs: z.array(AbsolutePath).check(z.minLength(1)),
  cniStateDir: AbsolutePath,
  daemonConfig: AbsolutePath,
  hostRoot: z.optional(AbsolutePath),
  libexecDir: AbsolutePath,
  plugins: z.array(PluginName),
  serviceAccountDir: AbsolutePath,
  kubeconfigFiles: z.array(AbsolutePath),
  certDir: z.optional(AbsolutePath),
  apiServers: z.array(NetAddress),
  podResourcesSocket: AbsolutePath,
  deviceCheckpoint: AbsolutePath,
  deviceInfoDir: AbsolutePath,
  readinessIndicatorFile: z.optional(AbsolutePath),
  metrics: z.optional(NetAddress),
  logFile: z.optional(AbsolutePath),
  ipamDataDir: z.optional(AbsolutePath),
  ipProgram: z.optional(AbsolutePath),
  manifestDirs: z.optional(z.array(AbsolutePath)),
  deno: AbsolutePath,
  hostDeno: AbsolutePath,
  programDir: AbsolutePath,
});

/**
 * The profile that `text` describes: the members that it has over `base`;
 * a member that is `null` takes one of `base` away.
 *
 * @throws {SyntaxError} when the text is not JSON.
 * @throws {TypeError} when a member has the wrong shape or is not known, or the log file lies in a
 * directory that is not its own; the message names it.
 */
export function parseProfile(text: string, base: Partial<Profile>): Profile {
  const merged: Record<string, unknown> = { ...base, ...parseJson(text) };
  for (const [key, value] of Object.entries(merged)) {
    if (value === null) delete merged[key];
  }
  const parsed = z.safeParse(ProfileFile, merged);
  if (parsed.success) {
    const profile = parsed.data as Profile;
    assertLogDir(profile);
    return profile;
  }
  throw new TypeError(describeIssue(parsed.error.issues, merged));
}

/** Where much lies that is not ours, in any root: what the daemon may write there is not only its log. */
const SHARED_DIRS: ReadonlySet<string> = new Set(
  [
    ["/", "/bin", "/boot", "/dev", "/etc", "/home", "/lib", "/mnt", "/opt"],
    ["/proc", "/root", "/run", "/sbin", "/srv", "/sys", "/tmp", "/usr", "/var"],
    ["/usr/bin", "/usr/lib", "/usr/libexec", "/usr/local", "/usr/sbin"],
    ["/var/lib", "/var/log", "/var/run", "/var/tmp"],
  ].flat(),
);

/** The daemon may write the whole directory of its log file, to rotate it. */
function assertLogDir(profile: Profile): void {
  const { logFile, hostRoot = "", cniBinDirs, libexecDir, programDir } =
    profile;
  if (logFile === undefined) return;
  const dir = dirname(normalize(logFile));
  const roots = ["", "/host", hostRoot];
  const isShared = roots.some((root) =>
    dir === root || dir.startsWith(`${root}/`) &&
      SHARED_DIRS.has(dir.slice(root.length))
  );
  const programs = [...cniBinDirs, ...seenBinDirs(profile)];
  const holdsPrograms = [...programs, libexecDir, programDir].some((path) =>
    `${normalize(path)}/`.startsWith(`${dir}/`)
  );
  if (!isShared && !holdsPrograms) return;
  throw new TypeError(
    `Profile has a log file in a directory with much else, all of which the daemon could write (use one of its own, such as /var/log/multus): logFile: ${
      JSON.stringify(logFile)
    }`,
  );
}

function parseJson(text: string): object {
  try {
    return JSON.parse(text);
  } catch (error) {
    if (!(error instanceof SyntaxError)) throw error;
    const message = `Profile is not JSON: ${error.message}`;
    throw new SyntaxError(message, { cause: error });
  }
}

function describeIssue(
  issues: readonly z.core.$ZodIssue[],
  value: Readonly<Record<string, unknown>>,
): string {
  const [issue] = issues;
  if (issue?.code === "unrecognized_keys") {
    return `Profile has an unknown member: ${issue.keys.join(", ")}`;
  }
  const name = issue?.path.join(".") ?? "";
  const [member = ""] = issue?.path ?? [];
  if (value[String(member)] === undefined) {
    return `Profile lacks a member: ${name}`;
  }
  const wanted = issue?.message === "Invalid input"
    ? ""
    : ` (${issue?.message})`;
  const shown = JSON.stringify(value[String(member)]);
  return `Profile has a member of the wrong shape${wanted}: ${name}: ${shown}`;
}

/** The file that the build leaves beside the executables: the profile whose grants they have. */
export const PROFILE_NAME = "profile.json";

/** A profile as a file, with nothing left to defaults. */
export function formatProfile(profile: Profile): string {
  return `${JSON.stringify(profile, null, 2)}\n`;
}
