/**
 * Members that may be missing: an optional property is absent, never
 * `undefined`, so what has no value is left out when an object is put together.
 *
 * @module
 */

/** The members of `T` that are there. */
export type Present<T> = { [K in keyof T]?: Exclude<T[K], undefined> };

/** The members that have a value. */
export function present<T extends object>(members: T): Present<T> {
  const entries = Object.entries(members)
    .filter(([, value]) => value !== undefined);
  return Object.fromEntries(entries) as Present<T>;
}
