/**
 * What a schema of a command's JSON can be asked: to read a value, strictly.
 */

/** The schema of a `T`. */
export interface Shape<T> {
  /** The value, when it is one. Throws otherwise, with the places. */
  parse(value: unknown): T;
  /** The same without throwing. */
  safeParse(
    value: unknown,
  ): { readonly success: true; readonly data: T } | {
    readonly success: false;
  };
}
