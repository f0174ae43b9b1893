/**
 * What the machine must have for the demo and the end-to-end tests, and how
 * to get it: on Debian and Ubuntu, as root, missing packages are installed
 * and it is said that they are; elsewhere it is said what to install.
 *
 * Needs: run of `apt-get`, read of the places that are looked at.
 */

/** One thing that must be there. */
interface Prerequisite {
  /** The Debian package that brings it. */
  readonly debianPackage: string;
  /** Where it may lie; one of them is enough. */
  readonly paths: readonly string[];
  /** What it is for, for a person. */
  readonly purpose: string;
}

/** Where distributions put the reference plugins. */
export const PLUGIN_DIRS: readonly string[] = [
  "/usr/lib/cni",
  "/opt/cni/bin",
  "/usr/libexec/cni",
];

/** Needed to make interfaces: demo and end-to-end tests. */
export const NETWORK: readonly Prerequisite[] = [
  {
    debianPackage: "containernetworking-plugins",
    paths: PLUGIN_DIRS.map((dir) => `${dir}/bridge`),
    purpose: "the CNI plugins",
  },
  {
    debianPackage: "iproute2",
    paths: ["/usr/sbin/ip", "/sbin/ip", "/usr/bin/ip"],
    purpose: "network namespaces",
  },
  {
    debianPackage: "iptables",
    paths: ["/usr/sbin/iptables", "/sbin/iptables"],
    purpose: "portmap and masquerading",
  },
];

/** Needed by the whole test suite. */
export const TESTING: readonly Prerequisite[] = [
  ...NETWORK,
  {
    debianPackage: "shellcheck",
    paths: ["/usr/bin/shellcheck"],
    purpose: "checking the scripts",
  },
  {
    debianPackage: "openssl",
    paths: ["/usr/bin/openssl"],
    purpose: "a server that verifies client certificates",
  },
  {
    debianPackage: "gcc",
    paths: ["/usr/bin/gcc", "/usr/bin/cc"],
    purpose: "the no-op plugin of the benchmark",
  },
  {
    debianPackage: "libc6-dev",
    paths: ["/usr/include/stdio.h"],
    purpose: "the no-op plugin of the benchmark",
  },
];

async function exists(path: string): Promise<boolean> {
  try {
    await Deno.stat(path);
    return true;
  } catch (error) {
    if (
      error instanceof Deno.errors.NotFound ||
      error instanceof Deno.errors.NotADirectory
    ) return false;
    throw error;
  }
}

/** Which of `wanted` are not on this machine. */
export async function missingOf(
  wanted: readonly Prerequisite[],
): Promise<Prerequisite[]> {
  const missing: Prerequisite[] = [];
  for (const prerequisite of wanted) {
    const found = await Promise.all(prerequisite.paths.map(exists));
    if (!found.some((there) => there)) missing.push(prerequisite);
  }
  return missing;
}

async function aptGet(args: readonly string[]): Promise<Deno.CommandOutput> {
  return await new Deno.Command("apt-get", {
    args: ["-qq", "-o", "DPkg::Lock::Timeout=120", ...args],
    env: { DEBIAN_FRONTEND: "noninteractive" },
    stdin: "null",
    stdout: "piped",
    stderr: "piped",
  }).output();
}

/**
 * Makes sure that `wanted` is there; returns what a person has to install
 * by hand, empty when nothing is missing.
 */
export async function ensurePrerequisites(
  wanted: readonly Prerequisite[],
  say: (line: string) => void,
): Promise<Prerequisite[]> {
  const missing = await missingOf(wanted);
  if (missing.length === 0) return [];
  const packages = missing.map((prerequisite) => prerequisite.debianPackage);
  const canInstall = Deno.uid() === 0 && await exists("/usr/bin/apt-get");
  if (!canInstall) return missing;
  say(
    `Installing ${packages.join(", ")} (${
      missing.map((one) => one.purpose).join("; ")
    })`,
  );
  const update = await aptGet(["update"]);
  const install = await aptGet([
    "install",
    "--yes",
    "--no-install-recommends",
    ...packages,
  ]);
  if (!install.success) {
    const said = new TextDecoder().decode(
      update.success ? install.stderr : update.stderr,
    ).trim();
    say(`apt-get could not install them: ${said.split("\n").at(-1) ?? ""}`);
  }
  return await missingOf(wanted);
}

/** The directory of the reference plugins on this machine, the first that has `bridge`. */
export async function findPluginDir(): Promise<string | undefined> {
  for (const dir of PLUGIN_DIRS) if (await exists(`${dir}/bridge`)) return dir;
  return undefined;
}
