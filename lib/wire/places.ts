/**
 * Where shim and daemon meet on a node: the socket and the directory of left-over DELs, with the names and
 * defaults that a node running the Go Multus already has. Which of them apply is read from the configuration
 * by the callers; nothing here touches the disk.
 *
 * @module
 */

/** Name of the daemon's socket inside the socket directory. */
export const SOCKET_NAME = "multus.sock";

/** Socket directory where the configuration has no `daemonSocketDir`. */
export const DEFAULT_SOCKET_DIR = "/run/multus";

/** State directory where the configuration has no `cniDir`. */
export const DEFAULT_CNI_DIR = "/var/lib/cni/multus";

/** Name of the directory, inside the state directory, that holds DELs which nobody could take. */
export const SPOOL_NAME = "spool";

/** Path of the socket in `socketDir`. */
export function socketPathIn(socketDir: string): string {
  return `${trimSlashes(socketDir)}/${SOCKET_NAME}`;
}

/** Path of the spool directory in `cniDir`. */
export function spoolDirIn(cniDir: string): string {
  return `${trimSlashes(cniDir)}/${SPOOL_NAME}`;
}

function trimSlashes(dir: string): string {
  return dir.replace(/\/+$/, "");
}
