/**
 * Device information files: what a device plugin knows of a device, handed to the plugin of the network that takes it,
 * and what that plugin made of it, handed back for the network status. One directory holds both, `dp/` written by
 * device plugins and only read here, `cni/` with one file per attachment, made here before ADD and removed at DEL.
 *
 * The content is passed on as it stands; that it is one JSON object is all that is asked of it. Which attachment wants
 * such a file is decided elsewhere.
 *
 * Format: "Device Information Specification" of the Network Plumbing Working Group
 */

import { CniError, ErrorCode } from "../cni/error.ts";
import { writeFileAtomic } from "../host/atomic_file.ts";
import { readTextWithin } from "./bounded_file.ts";

/** Where device plugins and network plugins look, on the node. */
export const DEVICE_INFO_DIR = "/var/run/k8s.cni.cncf.io/devinfo";

/** What tells one attachment's file from all others of the node. */
export interface DeviceInfoKey {
  /** The delegate's name. */
  readonly network: string;
  /** The sandbox, as the runtime calls it. */
  readonly containerId: string;
  /** The interface inside the pod. */
  readonly ifname: string;
}

/** The device information files of a node. */
export interface DeviceInfoFiles {
  /** Tells the path of an attachment's file as plugins see it: what they are given as `CNIDeviceInfoFile`. */
  pathOf(key: DeviceInfoKey): string;
  /**
   * Copies what the device plugin left, if anything, to the attachment's file, and returns the file's path as plugins
   * see it. Where the device plugin left nothing, there is no file, and the plugin may write it.
   *
   * @throws {CniError} code 6 when what the device plugin left is not a JSON object, or too long
   */
  provide(
    key: DeviceInfoKey,
    device: { resourceName: string; deviceId: string },
  ): Promise<string>;
  /**
   * Reads an attachment's file for the network status: undefined when there is none.
   *
   * @throws {CniError} code 6 when it is not a JSON object, or too long
   */
  read(key: DeviceInfoKey): Promise<Record<string, unknown> | undefined>;
  /** Removes an attachment's file; done again, it does nothing. */
  remove(key: DeviceInfoKey): Promise<void>;
}

/**
 * Gives access to the files under `dir`, where this process sees them; `hostDir` is the same directory where plugins see
 * it, if that is another path.
 *
 * Needs read permission for `dir` and write permission for its `cni` directory.
 */
export function createDeviceInfoFiles(
  dir: string,
  options: { hostDir?: string } = {},
): DeviceInfoFiles {
  const hostDir = options.hostDir ?? dir;
  const fileOf = (key: DeviceInfoKey): string => `${dir}/cni/${fileName(key)}`;
  const pathOf = (key: DeviceInfoKey): string =>
    `${hostDir}/cni/${fileName(key)}`;
  return {
    pathOf,
    async provide(key, { resourceName, deviceId }): Promise<string> {
      const text = await readObjectText(
        `${dir}/dp/${flatten(`${resourceName}-${deviceId}-device.json`)}`,
      );
      await Deno.mkdir(`${dir}/cni`, { recursive: true, mode: DIR_MODE });
      // What an earlier attempt left must not be taken for what this device plugin says.
      if (text === undefined) await removeIfThere(fileOf(key));
      else await writeFileAtomic(fileOf(key), text, WRITING);
      return pathOf(key);
    },
    async read(key): Promise<Record<string, unknown> | undefined> {
      const text = await readObjectText(fileOf(key));
      return text === undefined ? undefined : JSON.parse(text);
    },
    remove: (key) => removeIfThere(fileOf(key)),
  };
}

/** A device's description has some hundred bytes; it goes into an annotation, of which a pod may have 256 kB. */
const DEVICE_INFO_BYTES_MAX = 16 * 1024;
/** Plugins may run as another user, and the content is no secret: it is shown in the pod's annotation. */
const DIR_MODE = 0o755;
const FILE_MODE = 0o644;
/** Not synced to disk: the directory lies in memory, and after a power cut there are neither pods nor their files. */
const WRITING = { mode: FILE_MODE, sync: false };

function fileName({ network, containerId, ifname }: DeviceInfoKey): string {
  return flatten(`${network}-${containerId}_${ifname}`);
}

/** Resource names, and the IDs of some devices, hold slashes. */
function flatten(name: string): string {
  return name.replaceAll("/", "-");
}

async function readObjectText(file: string): Promise<string | undefined> {
  try {
    const text = await readTextWithin(file, DEVICE_INFO_BYTES_MAX);
    assertObject(JSON.parse(text));
    return text;
  } catch (cause) {
    if (cause instanceof Deno.errors.NotFound) return undefined;
    if (!isAboutContent(cause)) throw cause;
    const message =
      `Device information cannot be used: ${cause.message} in "${file}"`;
    throw new CniError(ErrorCode.decodingFailure, message, { cause });
  }
}

function isAboutContent(error: unknown): error is Error {
  return error instanceof SyntaxError || error instanceof TypeError ||
    error instanceof RangeError;
}

function assertObject(value: unknown): void {
  if (typeof value === "object" && value !== null && !Array.isArray(value)) {
    return;
  }
  throw new TypeError(
    `JSON is not an object: ${JSON.stringify(value).slice(0, EXCERPT_LENGTH)}`,
  );
}

/** Enough to recognise what stands there. */
const EXCERPT_LENGTH = 40;

async function removeIfThere(file: string): Promise<void> {
  try {
    await Deno.remove(file);
  } catch (error) {
    if (!(error instanceof Deno.errors.NotFound)) throw error;
  }
}
