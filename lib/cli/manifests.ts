/**
 * Pods and networks as they stand in manifests, for a dry run.
 */
import { isJsonObject, type JsonObject } from "../cni/json_text.ts";
import {
  type NetworkAttachment,
  type Pod,
  trimAttachment,
  trimPod,
} from "../kube/objects.ts";
import { UsageError } from "./command.ts";
import { formatPlace, readLocatedText } from "./located_text.ts";

/** What a text of manifests holds. */
export interface Manifests {
  /** In order; of what makes pods, one as it would make it. */
  readonly pods: readonly Pod[];
  /** In order. */
  readonly attachments: readonly NetworkAttachment[];
}

/** Where objects without a namespace go. */
const DEFAULT_NAMESPACE = "default";

/**
 * Reads manifests, YAML or JSON.
 *
 * @throws {UsageError} when they cannot be read, with the place.
 */
export function readManifests(text: string, file: string): Manifests {
  const { documents, problems: [problem] } = readLocatedText(text);
  if (problem !== undefined) {
    const place = formatPlace(text, problem.offset);
    throw new UsageError(`${file}:${place}: ${problem.message}`);
  }
  const objects = documents.flatMap(({ value }) => itemsOf(value));
  return {
    pods: objects.flatMap((object) => podOf(object)),
    attachments: objects.filter(({ kind }) =>
      kind === "NetworkAttachmentDefinition"
    ).map((object) => trimAttachment(inNamespace(object))),
  };
}

function itemsOf(value: unknown): JsonObject[] {
  if (!isJsonObject(value)) return [];
  return Array.isArray(value["items"])
    ? value["items"].flatMap(itemsOf)
    : [value];
}

function podOf(object: JsonObject): Pod[] {
  if (object["kind"] === "Pod") return [trimPod(inNamespace(object))];
  const template = templateOf(object);
  if (template === undefined) return [];
  const own = partOf(object, "metadata");
  const metadata = {
    ...partOf(template, "metadata"),
    name: own["name"],
    namespace: own["namespace"],
  };
  return [trimPod(inNamespace({ ...template, metadata }))];
}

function templateOf(object: JsonObject): JsonObject | undefined {
  const spec = partOf(object, "spec");
  const inner = partOf(partOf(spec, "jobTemplate"), "spec");
  const found = [spec["template"], inner["template"]].find(isJsonObject);
  return found;
}

function partOf(object: JsonObject, key: string): JsonObject {
  const part = object[key];
  return isJsonObject(part) ? part : {};
}

function inNamespace(object: JsonObject): JsonObject {
  const metadata = partOf(object, "metadata");
  const namespace = metadata["namespace"] ?? DEFAULT_NAMESPACE;
  return { ...object, metadata: { ...metadata, namespace } };
}
