/**
 * Makes the two scripts in `deployments/libexec` fit for one place: what they may reach stands in
 * variables at their top, written in here when an image is built or a node is installed, so that
 * nobody who may only run them can change it. It leaves alone where the texts come from and go to.
 *
 * @module
 */

/** What `delegate-exec` may run. */
export interface DelegateExecPlace {
  /** The host's root in the pod; `/` to run plugins without chroot. */
  readonly hostRoot: string;
  /** The plugin directories, as the host names them. */
  readonly pluginDirs: readonly string[];
}

/** What `default-route` works with. */
export interface DefaultRoutePlace {
  /** The host's root in the pod; `/` outside of one. */
  readonly hostRoot: string;
  /** iproute2's `ip`, in this root; `/usr/sbin/ip` unless given. */
  readonly ipProgram?: string;
}

/** No character means anything to a shell, or separates directories. */
const PLAIN_PATH = /^(?:\/|(?:\/[A-Za-z0-9._+-]+)+)$/;
/** Where a system keeps its shells and tools; `delegate-exec` refuses the same. */
const COMMAND_DIR = /^\/(?:usr\/(?:local\/)?)?s?bin(?:\/|$)/;

/**
 * Writes root and plugin directories into the text of `delegate-exec`.
 *
 * @throws {RangeError} a path is not plain and absolute, there is no directory, or one holds the system's own commands
 * @throws {SyntaxError} the text has no such variable
 */
export function renderDelegateExec(
  template: string,
  place: DelegateExecPlace,
): string {
  const { hostRoot, pluginDirs } = place;
  if (pluginDirs.length === 0) {
    throw new RangeError("No plugin directory given");
  }
  for (const dir of pluginDirs) {
    assertPlainPath(dir);
    if (dir === "/" || COMMAND_DIR.test(dir)) {
      throw new RangeError(
        `Directory of commands cannot be a plugin directory: ${dir}`,
      );
    }
  }
  const rooted = setVariable(template, "HOST_ROOT", rootText(hostRoot));
  return setVariable(rooted, "PLUGIN_DIRS", pluginDirs.join(":"));
}

/**
 * Writes root and `ip` into the text of `default-route`.
 *
 * @throws {RangeError} a path is not plain and absolute
 * @throws {SyntaxError} the text has no such variable
 */
export function renderDefaultRoute(
  template: string,
  place: DefaultRoutePlace,
): string {
  const { hostRoot, ipProgram = "/usr/sbin/ip" } = place;
  assertPlainPath(ipProgram);
  const rooted = setVariable(template, "HOST_ROOT", rootText(hostRoot));
  return setVariable(rooted, "IP_PROGRAM", ipProgram);
}

/** The scripts write paths behind the root, so the root itself is empty. */
function rootText(hostRoot: string): string {
  if (hostRoot === "" || hostRoot === "/") return "";
  assertPlainPath(hostRoot);
  return hostRoot;
}

function assertPlainPath(path: string): void {
  const isPlain = PLAIN_PATH.test(path) &&
    !path.split("/").some((part) => part === "." || part === "..");
  if (!isPlain) {
    throw new RangeError(`Not a plain absolute path: ${JSON.stringify(path)}`);
  }
}

function setVariable(text: string, name: string, value: string): string {
  const lines = text.split("\n");
  const places = lines.flatMap((line, index) =>
    line.startsWith(`${name}=`) ? [index] : []
  );
  const [place] = places;
  if (place === undefined || places.length > 1) {
    throw new SyntaxError(
      `Script does not set the variable exactly once: ${name}`,
    );
  }
  return lines.with(place, `${name}='${value}'`).join("\n");
}
