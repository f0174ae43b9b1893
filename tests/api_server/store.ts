/**
 * The objects of the stand-in API server: one revision counter for all, a bounded
 * history for watches that resume, and listeners that hear each change. It knows
 * nothing of HTTP.
 *
 * @module
 */
import { StatusError } from "./status.ts";
import { apiVersionOf, type ResourceType } from "./resources.ts";

/** The metadata that the server itself reads or writes. */
export interface ObjectMeta extends Record<string, unknown> {
  name: string;
  namespace?: string;
  uid?: string;
  resourceVersion?: string;
  generateName?: string;
  creationTimestamp?: string;
  annotations?: Record<string, string>;
}

/** Any object of the API. */
export interface KubeObject extends Record<string, unknown> {
  apiVersion: string;
  kind: string;
  metadata: ObjectMeta;
}

/** One change of one object. `previous` is missing when it was created. */
export interface Change {
  readonly type: ResourceType;
  readonly revision: number;
  readonly object: KubeObject;
  readonly previous?: KubeObject;
  readonly deleted: boolean;
}

/** Names one object. */
export interface ObjectKey {
  readonly type: ResourceType;
  readonly namespace?: string;
  readonly name: string;
}

/** The objects, their history and who listens. */
export interface Store {
  readonly revision: number;
  get(key: ObjectKey): KubeObject;
  list(type: ResourceType, namespace?: string): KubeObject[];
  /** Creates an object; 409 when it is there. */
  create(type: ResourceType, object: KubeObject): KubeObject;
  /** Creates or replaces an object, keeping the UID of one that is there unless another is given. */
  put(type: ResourceType, object: KubeObject): KubeObject;
  /** Replaces an object with what `edit` makes of it. */
  update(key: ObjectKey, edit: (object: KubeObject) => KubeObject): KubeObject;
  remove(key: ObjectKey): KubeObject;
  /** The changes after a revision; 410 when they are no longer kept. */
  changesSince(type: ResourceType, revision: number): Change[];
  /** Hears every change from now on, until the returned function is called. */
  listen(listener: (change: Change) => void): () => void;
  /** Forgets the history, as etcd compaction does. */
  compact(): void;
  /** Says whether the history from this revision on is forgotten. */
  isCompacted(revision: number): boolean;
}

/** Enough for a watch that is cut and comes back under load. */
const HISTORY_CHANGES_MAX = 2_000;
/** Real clusters are never at revision zero, and "0" has a meaning of its own. */
const FIRST_REVISION = 1_000;

/** Makes an empty store. */
export function createStore(): Store {
  const objects = new Map<string, Map<string, KubeObject>>();
  const listeners = new Set<(change: Change) => void>();
  let history: Change[] = [];
  let revision = FIRST_REVISION;
  let compactedRevision = FIRST_REVISION;

  const tableOf = (type: ResourceType): Map<string, KubeObject> => {
    const id = `${type.group}/${type.plural}`;
    const table = objects.get(id) ?? new Map<string, KubeObject>();
    objects.set(id, table);
    return table;
  };
  const record = (change: Change): void => {
    history.push(change);
    if (history.length > HISTORY_CHANGES_MAX) {
      compactedRevision = history.shift()?.revision ?? revision;
    }
    for (const listener of listeners) listener(change);
  };
  const write = (type: ResourceType, object: KubeObject): KubeObject => {
    const table = tableOf(type);
    const key = keyOf(object.metadata.namespace, object.metadata.name);
    const previous = table.get(key);
    revision += 1;
    const written = {
      ...object,
      metadata: { ...object.metadata, resourceVersion: String(revision) },
    };
    table.set(key, written);
    record({
      type,
      revision,
      object: written,
      ...(previous === undefined ? {} : { previous }),
      deleted: false,
    });
    return written;
  };
  const get = ({ type, namespace, name }: ObjectKey): KubeObject => {
    const object = tableOf(type).get(keyOf(namespace, name));
    if (object !== undefined) return object;
    throw new StatusError(404, `${resourceName(type)} "${name}" not found`, {
      details: { name, group: type.group, kind: type.plural },
    });
  };
  const put = (type: ResourceType, object: KubeObject): KubeObject => {
    const { namespace, name, uid, creationTimestamp } = object.metadata;
    const old = tableOf(type).get(keyOf(namespace, name))?.metadata;
    const metadata = {
      ...object.metadata,
      uid: uid ?? old?.uid ?? crypto.randomUUID(),
      creationTimestamp: creationTimestamp ?? old?.creationTimestamp ??
        timestamp(),
    };
    return write(type, {
      ...object,
      apiVersion: apiVersionOf(type),
      kind: type.kind,
      metadata,
    });
  };

  return {
    get revision() {
      return revision;
    },
    get,
    put,
    list: (type, namespace) =>
      [...tableOf(type)]
        .filter(([, object]) =>
          namespace === undefined || object.metadata.namespace === namespace
        )
        .sort(([a], [b]) => a < b ? -1 : 1)
        .map(([, object]) => object),
    create: (type, object) => {
      const { namespace, name } = object.metadata;
      if (tableOf(type).has(keyOf(namespace, name))) {
        throw new StatusError(
          409,
          `${resourceName(type)} "${name}" already exists`,
          { reason: "AlreadyExists" },
        );
      }
      return put(type, object);
    },
    update: (key, edit) => write(key.type, edit(get(key))),
    remove: (key) => {
      const previous = get(key);
      tableOf(key.type).delete(keyOf(key.namespace, key.name));
      revision += 1;
      const object = {
        ...previous,
        metadata: { ...previous.metadata, resourceVersion: String(revision) },
      };
      record({ type: key.type, revision, object, previous, deleted: true });
      return object;
    },
    changesSince: (type, since) => {
      if (since < compactedRevision) {
        throw new StatusError(
          410,
          `too old resource version: ${since} (${revision})`,
        );
      }
      return history.filter((change) =>
        change.revision > since && change.type === type
      );
    },
    listen: (listener) => {
      listeners.add(listener);
      return () => listeners.delete(listener);
    },
    isCompacted: (asked) => asked < compactedRevision,
    compact: () => {
      history = [];
      compactedRevision = revision + 1;
      revision += 1;
    },
  };
}

/** The name of a kind as error messages of the API spell it. */
export function resourceName(type: ResourceType): string {
  return type.group === "" ? type.plural : `${type.plural}.${type.group}`;
}

/** Now, in the API's whole seconds. */
export function timestamp(): string {
  return `${new Date().toISOString().slice(0, 19)}Z`;
}

function keyOf(namespace: string | undefined, name: string): string {
  return `${namespace ?? ""}/${name}`;
}
