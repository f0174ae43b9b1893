/**
 * From the name of a network to its configuration: by a
 * NetworkAttachmentDefinition, and for networks that the operator configured
 * also by a CNI file, a directory or a path. Where definitions and files come
 * from is the caller's; each call of a source is expected to end by the
 * caller's own deadline.
 *
 * @module
 */

import type { NetConfList } from "../cni/conf.ts";
import { parseConf } from "../cni/conf.ts";
import { CniError, ErrorCode, quote } from "../cni/error.ts";
import type { AttachmentDefinition, DefinitionName } from "./delegate.ts";
import { assertDefinition, assertNotMultus } from "./definition_checks.ts";
import { isDefinitionName } from "./network_names.ts";

/** A network with its configuration, and the definition that it came from. */
export interface ResolvedNetwork {
  /** The configuration. */
  readonly list: NetConfList;
  /** Absent if the configuration lay in a file. */
  readonly definition?: DefinitionName;
  /** The resource that the definition names. */
  readonly resourceName?: string;
}

/** Where definitions come from, and the CNI files that they may stand for. */
export interface DefinitionSources {
  /** The definition; undefined when there is none. Throws when that cannot be found out now. */
  attachment(
    namespace: string,
    name: string,
  ): Promise<AttachmentDefinition | undefined>;
  /** The CNI file of confDir with that `name` in it; a CniError of code 7 when there is none. */
  confByName(name: string): Promise<NetConfList>;
}

/** What else a network of the operator's may be. */
export interface NetworkSources extends DefinitionSources {
  /** The CNI file at an absolute path, of a directory the first one; a CniError of code 7 when there is none. */
  confAt(path: string): Promise<NetConfList>;
  /** Whether the path is a directory's. */
  isDirectory(path: string): boolean;
}

/** What a reference of the operator's is resolved with. */
export interface ResolveOptions {
  /** Where the definitions of networks of the operator are. */
  readonly multusNamespace: string;
  /** Where to look. */
  readonly sources: NetworkSources;
  /** The key of the configuration that holds it, such as `clusterNetwork`. */
  readonly place: string;
}

/**
 * Finds a network of the operator's: a definition in `multusNamespace`, else
 * the `name` of a CNI file, else a directory (its first file), else a file.
 *
 * @throws {CniError} Code 7, if there is none or it leads back to Multus; what the sources throw.
 */
export async function resolveNetwork(
  reference: string,
  options: ResolveOptions,
): Promise<ResolvedNetwork> {
  const network = await findNetwork(reference, options);
  assertNotMultus(network.list, `${options.place} ${quote(reference)}`);
  return network;
}

/**
 * The configuration of a definition: `spec.config`, or the CNI file of its
 * name; `origin` begins each message.
 *
 * @throws {CniError} If there is no valid configuration or it holds what a definition may not; what the sources throw.
 */
export async function resolveDefinition(
  definition: AttachmentDefinition,
  sources: Pick<DefinitionSources, "confByName">,
  origin: string,
): Promise<ResolvedNetwork> {
  const { namespace, name, resourceName } = definition;
  const list = await readConf(definition, sources, origin);
  assertDefinition(list, origin);
  return {
    list,
    definition: { namespace, name },
    ...(resourceName ? { resourceName } : {}),
  };
}

async function findNetwork(
  reference: string,
  options: ResolveOptions,
): Promise<ResolvedNetwork> {
  const { multusNamespace, sources, place } = options;
  if (reference.startsWith("/")) {
    return { list: await readPath(reference, options) };
  }
  if (reference === "" || reference.includes("/")) {
    throw invalid(
      `${place} must be the name of a network or an absolute path: ${
        quote(reference)
      }`,
    );
  }
  const title = `"${multusNamespace}/${reference}"`;
  const definition = isDefinitionName(reference)
    ? await sources.attachment(multusNamespace, reference)
    : undefined;
  if (definition !== undefined) {
    return await resolveDefinition(
      definition,
      sources,
      `NetworkAttachmentDefinition ${title} (${place})`,
    );
  }
  try {
    return { list: await sources.confByName(reference) };
  } catch (error) {
    throw withOrigin(
      error,
      `${place}: no NetworkAttachmentDefinition ${title}`,
    );
  }
}

async function readPath(
  path: string,
  { sources, place }: ResolveOptions,
): Promise<NetConfList> {
  try {
    return await sources.confAt(path);
  } catch (error) {
    // The file is named by who could not read it.
    throw withOrigin(error, place);
  }
}

async function readConf(
  { name, config = "" }: AttachmentDefinition,
  sources: Pick<DefinitionSources, "confByName">,
  origin: string,
): Promise<NetConfList> {
  try {
    return config.trim() === ""
      ? await sources.confByName(name)
      : parseConf(config, { defaultName: name });
  } catch (error) {
    throw withOrigin(error, origin);
  }
}

/** Puts in front of a message what its thrower could not know; what is no CniError passes as it is. */
function withOrigin(error: unknown, origin: string): unknown {
  if (!(error instanceof CniError)) return error;
  return new CniError(error.code, `${origin}: ${error.message}`, {
    details: error.details,
    cause: error,
  });
}

function invalid(message: string): CniError {
  return new CniError(ErrorCode.invalidNetworkConfig, message);
}
