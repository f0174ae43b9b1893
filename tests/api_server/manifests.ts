/**
 * Reads Kubernetes manifests from files and directories, as `kubectl apply -f` does.
 * Documents of kinds that the stand-in does not serve are left out.
 *
 * @module
 */
import { join } from "node:path";
import { parseAllDocuments } from "yaml";
import { findTypeOfManifest } from "./resources.ts";
import { isObject } from "./selectors.ts";

/** Reads all manifests; needs `read` for the paths. @throws {SyntaxError} when a file is not YAML. */
export async function readManifests(
  paths: readonly string[],
): Promise<unknown[]> {
  const files = (await Promise.all(paths.map(listFiles))).flat();
  const texts = await Promise.all(files.map((file) => Deno.readTextFile(file)));
  return texts.flatMap((text, index) =>
    parseManifests(text, files[index] ?? "")
  );
}

/** Reads all documents of one text; `List` objects are taken apart. */
export function parseManifests(text: string, path = "text"): unknown[] {
  return parseAllDocuments(text).flatMap((document) => {
    const [problem] = "errors" in document ? document.errors : [];
    if (problem !== undefined) {
      throw new SyntaxError(
        `Manifest is not YAML: ${path}: ${problem.message}`,
      );
    }
    return takeApart(document.toJS());
  });
}

function takeApart(manifest: unknown): unknown[] {
  if (!isObject(manifest)) return [];
  if (Array.isArray(manifest.items)) return manifest.items.flatMap(takeApart);
  const served = findTypeOfManifest(
    String(manifest.apiVersion),
    String(manifest.kind),
  );
  return served === undefined ? [] : [manifest];
}

async function listFiles(path: string): Promise<string[]> {
  if ((await Deno.stat(path)).isFile) return [path];
  const entries = await Array.fromAsync(Deno.readDir(path));
  return entries
    .filter((entry) => entry.isFile && /\.(ya?ml|json)$/.test(entry.name))
    .map((entry) => join(path, entry.name))
    .sort();
}
