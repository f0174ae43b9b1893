/**
 * Reads the small files that other programs leave on the node: whole, as text, but not more than a caller allows.
 */

/**
 * Reads a regular file as UTF-8 text.
 *
 * Needs read permission for the file.
 *
 * @throws {RangeError} when the file is larger than `bytesMax`
 * @throws {TypeError} when it is no regular file, such as a pipe that would never end
 * @throws {Deno.errors.NotFound} when there is none
 */
export async function readTextWithin(
  file: string,
  bytesMax: number,
): Promise<string> {
  const { isFile, size } = await Deno.stat(file);
  if (!isFile) throw new TypeError(`File is not a regular file: "${file}"`);
  if (size > bytesMax) {
    throw new RangeError(
      `File "${file}" is larger than ${bytesMax} bytes: ${size}`,
    );
  }
  return await Deno.readTextFile(file);
}
