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
  return new Objects();
}

class Objects implements Store {
  readonly #tables = new Map<ResourceType, Map<string, KubeObject>>();
  readonly #listeners = new Set<(change: Change) => void>();
  #history: Change[] = [];
  #revision = FIRST_REVISION;
  #compactedRevision = FIRST_REVISION;

  get revision(): number {
    return this.#revision;
  }

  get({ type, namespace, name }: ObjectKey): KubeObject {
    const object = this.#table(type).get(keyOf(namespace, name));
    if (object !== undefined) return object;
    throw new StatusError(404, `${resourceName(type)} "${name}" not found`, {
      details: { name, group: type.group, kind: type.plural },
    });
  }

  list(type: ResourceType, namespace?: string): KubeObject[] {
    return [...this.#table(type)]
      .filter(([, { metadata }]) =>
        namespace === undefined || metadata.namespace === namespace
      )
      .sort(([a], [b]) => a < b ? -1 : 1)
      .map(([, object]) => object);
  }

  create(type: ResourceType, object: KubeObject): KubeObject {
    const { namespace, name } = object.metadata;
    if (!this.#table(type).has(keyOf(namespace, name))) {
      return this.put(type, object);
    }
    const message = `${resourceName(type)} "${name}" already exists`;
    throw new StatusError(409, message, { reason: "AlreadyExists" });
  }

  put(type: ResourceType, object: KubeObject): KubeObject {
    const { namespace, name, uid, creationTimestamp } = object.metadata;
    const old = this.#table(type).get(keyOf(namespace, name))?.metadata;
    const metadata = {
      ...object.metadata,
      uid: uid ?? old?.uid ?? crypto.randomUUID(),
      creationTimestamp: creationTimestamp ?? old?.creationTimestamp ??
        timestamp(),
    };
    const { kind } = type;
    const apiVersion = apiVersionOf(type);
    return this.#write(type, { ...object, apiVersion, kind, metadata });
  }

  update(
    key: ObjectKey,
    edit: (object: KubeObject) => KubeObject,
  ): KubeObject {
    return this.#write(key.type, edit(this.get(key)));
  }

  remove(key: ObjectKey): KubeObject {
    const { type, namespace, name } = key;
    const previous = this.get(key);
    this.#table(type).delete(keyOf(namespace, name));
    const object = this.#stamp(previous);
    const revision = this.#revision;
    this.#record({ type, revision, object, previous, deleted: true });
    return object;
  }

  changesSince(type: ResourceType, since: number): Change[] {
    if (this.isCompacted(since)) {
      const message = `too old resource version: ${since} (${this.#revision})`;
      throw new StatusError(410, message);
    }
    return this.#history.filter((change) =>
      change.revision > since && change.type === type
    );
  }

  listen(listener: (change: Change) => void): () => void {
    this.#listeners.add(listener);
    return () => this.#listeners.delete(listener);
  }

  isCompacted(revision: number): boolean {
    return revision < this.#compactedRevision;
  }

  compact(): void {
    this.#history = [];
    this.#revision += 1;
    this.#compactedRevision = this.#revision;
  }

  #table(type: ResourceType): Map<string, KubeObject> {
    const table = this.#tables.get(type) ?? new Map<string, KubeObject>();
    this.#tables.set(type, table);
    return table;
  }

  #write(type: ResourceType, object: KubeObject): KubeObject {
    const key = keyOf(object.metadata.namespace, object.metadata.name);
    const previous = this.#table(type).get(key);
    const written = this.#stamp(object);
    this.#table(type).set(key, written);
    this.#record({
      type,
      revision: this.#revision,
      object: written,
      deleted: false,
      ...(previous === undefined ? {} : { previous }),
    });
    return written;
  }

  /** The object at the next revision. */
  #stamp(object: KubeObject): KubeObject {
    this.#revision += 1;
    const resourceVersion = String(this.#revision);
    return { ...object, metadata: { ...object.metadata, resourceVersion } };
  }

  #record(change: Change): void {
    this.#history.push(change);
    if (this.#history.length > HISTORY_CHANGES_MAX) {
      this.#compactedRevision = this.#history.shift()?.revision ??
        this.#revision;
    }
    for (const listener of this.#listeners) listener(change);
  }
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
