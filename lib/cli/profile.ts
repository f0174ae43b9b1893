/**
 * Profiles: the paths and addresses of one kind of node, as files. A profile
 * is what `lib/grants.ts` works the permissions out from; this module holds
 * the default, reads a file over it, and checks it.
 */
import * as z from "zod/mini";
import type { Profile } from "../grants.ts";

const AbsolutePath = z.string().check(z.regex(/^\/[^,\n]*$/, "an absolute path without comma"));
const NetAddress = z.string().check(z.regex(/^[^\s,]+$/, "a host, host:port or range without comma"));
const PluginName = z.string().check(z.regex(/^[A-Za-z0-9][A-Za-z0-9._-]*$/, "a plain file name"));

const ProfileFile = z.strictObject({
  socketDir: AbsolutePath,
  hostSocketDir: AbsolutePath,
  cniConfDir: AbsolutePath,
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
  deno: AbsolutePath,
  hostDeno: AbsolutePath,
  programDir: AbsolutePath,
});

/**
 * The profile that `text` describes: the members that it has over `base`;
 * a member that is `null` takes one of `base` away.
 *
 * @throws {SyntaxError} when the text is not JSON.
 * @throws {TypeError} when a member has the wrong shape or is not known; the message names it.
 */
export function parseProfile(text: string, base: Partial<Profile>): Profile {
  const merged: Record<string, unknown> = { ...base, ...JSON.parse(text) };
  for (const [key, value] of Object.entries(merged)) if (value === null) delete merged[key];
  const parsed = z.safeParse(ProfileFile, merged);
  if (parsed.success) return parsed.data as Profile;
  const issue = parsed.error.issues[0];
  throw new TypeError(`Profile: ${issue?.path.join(".")}: ${issue?.message}`);
}
