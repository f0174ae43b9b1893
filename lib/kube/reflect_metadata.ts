/**
 * The four functions of the `reflect-metadata` proposal that the X.509 library's
 * container asks for when it is loaded. Import this module before that library.
 * It leaves alone everything else of the proposal.
 *
 * @module
 */

type Metadata = Map<unknown, unknown>;

const tables = new WeakMap<object, Map<unknown, Metadata>>();

function metadataOf(target: object, property: unknown): Metadata {
  const table = tables.get(target) ?? new Map<unknown, Metadata>();
  tables.set(target, table);
  const metadata = table.get(property) ?? new Map<unknown, unknown>();
  table.set(property, metadata);
  return metadata;
}

function defineMetadata(
  key: unknown,
  value: unknown,
  ...[target, property]: [object, unknown?]
): void {
  metadataOf(target, property).set(key, value);
}

function getOwnMetadata(
  key: unknown,
  target: object,
  ...[property]: [unknown?]
): unknown {
  return tables.get(target)?.get(property)?.get(key);
}

function getMetadata(
  key: unknown,
  target: object,
  ...[property]: [unknown?]
): unknown {
  for (
    let object: object | null = target;
    object !== null;
    object = Object.getPrototypeOf(object)
  ) {
    const metadata = tables.get(object)?.get(property);
    if (metadata?.has(key)) return metadata.get(key);
  }
  return undefined;
}

function metadata(
  key: unknown,
  value: unknown,
): (target: object, property?: unknown) => void {
  return (target, property) => defineMetadata(key, value, target, property);
}

Object.assign(Reflect, {
  defineMetadata,
  getOwnMetadata,
  getMetadata,
  metadata,
});
