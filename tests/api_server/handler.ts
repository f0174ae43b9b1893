/**
 * What the stand-in API server answers to a request, as a function from request to
 * response: get, list, watch, create, delete and merge patch of the objects in a
 * store. Authentication, faults and the listening socket are the server's.
 *
 * @module
 */
import { apiVersionOf, type Target } from "./resources.ts";
import { isObject, mergePatch, parseFieldSelector } from "./selectors.ts";
import { StatusError } from "./status.ts";
import {
  type KubeObject,
  resourceName,
  type Store,
  timestamp,
} from "./store.ts";
import { openWatch, type WatchStream } from "./watch_stream.ts";

/** What the handler is given of its surroundings. */
export interface HandlerContext {
  readonly store: Store;
  readonly watches: Set<WatchStream>;
  /** Says whether an access review, or a request, is allowed. */
  readonly allows: (access: Access) => boolean;
  /** Signs certificate signing requests; without it they stay pending. */
  readonly sign?: (
    requestPem: string,
    options: { seconds?: number },
  ) => Promise<string>;
}

/** What somebody wants to do. */
export interface Access {
  readonly verb: string;
  readonly group: string;
  readonly resource: string;
  readonly namespace?: string;
  readonly subresource?: string;
}

/** How a watch is to go wrong. */
export interface WatchFault {
  readonly cutAfterFirst?: boolean;
  readonly expire?: boolean;
}

/** A watch without a limit of its own ends after this; servers take 30 to 60 minutes. */
const WATCH_TIMEOUT_S = 1_800;
const MERGE_PATCH = "application/merge-patch+json";

/** The API's verb of a request. */
export function verbOf(request: Request, target: Target): string {
  const query = new URL(request.url).searchParams;
  if (request.method === "GET" && isWatch(query)) return "watch";
  if (request.method === "GET") {
    return target.name === undefined ? "list" : "get";
  }
  const verbs: Record<string, string> = {
    POST: "create",
    PATCH: "patch",
    PUT: "update",
    DELETE: "delete",
  };
  return verbs[request.method] ?? request.method.toLowerCase();
}

/** Answers a request. @throws {StatusError} when the answer is a Status. */
export async function answer(
  context: HandlerContext,
  request: Request,
  options: { target: Target; fault: WatchFault },
): Promise<Response> {
  const { target, fault } = options;
  switch (verbOf(request, target)) {
    case "watch":
      return watch(context, request, { target, fault });
    case "list":
      return list(context, request, target);
    case "get":
      return Response.json(context.store.get(keyOf(target)));
    case "create":
      return Response.json(
        await create(context, await readJson(request), target),
        { status: 201 },
      );
    case "patch":
      return Response.json(await patch(context, request, target));
    case "delete":
      return Response.json(context.store.remove(keyOf(target)));
    default:
      throw new StatusError(
        405,
        `the server does not allow this method on the requested resource`,
      );
  }
}

function list(
  context: HandlerContext,
  request: Request,
  target: Target,
): Response {
  const query = new URL(request.url).searchParams;
  const selects = parseFieldSelector(query.get("fieldSelector"));
  const limit = Number(query.get("limit") ?? 0);
  const start = query.get("continue");
  const after = start === null ? undefined : readContinue(start, context.store);
  const selected = context.store.list(target.type, target.namespace).filter(
    selects,
  );
  const rest = after === undefined
    ? selected
    : selected.filter((object) => pageKey(object) > after.key);
  const items = limit > 0 ? rest.slice(0, limit) : rest;
  const resourceVersion = after?.resourceVersion ??
    String(context.store.revision);
  const last = items.at(-1);
  const more = items.length < rest.length && last !== undefined
    ? {
      continue: btoa(JSON.stringify({ resourceVersion, key: pageKey(last) })),
      remainingItemCount: rest.length - items.length,
    }
    : {};
  return Response.json({
    kind: `${target.type.kind}List`,
    apiVersion: apiVersionOf(target.type),
    metadata: { resourceVersion, ...more },
    items,
  });
}

interface Continue {
  readonly resourceVersion: string;
  readonly key: string;
}

/** A page can be gone on from as long as its revision is still watched from. */
function readContinue(token: string, store: Store): Continue {
  try {
    const { resourceVersion, key } = JSON.parse(atob(token));
    if (typeof resourceVersion === "string" && typeof key === "string") {
      if (store.isCompacted(Number(resourceVersion))) {
        throw new StatusError(
          410,
          "the provided continue parameter is too old",
        );
      }
      return { resourceVersion, key };
    }
  } catch (error) {
    if (error instanceof StatusError) throw error;
  }
  throw new StatusError(400, "continue key is not valid");
}

function pageKey(object: KubeObject): string {
  return `${object.metadata.namespace ?? ""}/${object.metadata.name}`;
}

function watch(
  context: HandlerContext,
  request: Request,
  { target, fault }: { target: Target; fault: WatchFault },
): Response {
  const query = new URL(request.url).searchParams;
  const resourceVersion = query.get("resourceVersion") ?? "";
  const stream = openWatch(context.store, {
    type: target.type,
    ...(target.namespace === undefined ? {} : { namespace: target.namespace }),
    ...(resourceVersion === "" ? {} : { resourceVersion }),
    selects: parseFieldSelector(query.get("fieldSelector")),
    bookmarks: query.get("allowWatchBookmarks") === "true",
    timeoutMs: Number(query.get("timeoutSeconds") ?? WATCH_TIMEOUT_S) * 1000,
    ...fault,
  }, context.watches);
  return new Response(stream.body, {
    headers: { "content-type": "application/json;stream=watch" },
  });
}

async function create(
  context: HandlerContext,
  body: unknown,
  target: Target,
): Promise<unknown> {
  if (!isObject(body)) {
    throw new StatusError(400, "the body is not a JSON object");
  }
  if (target.type.plural === "selfsubjectaccessreviews") {
    return review(context, body);
  }
  const metadata = isObject(body.metadata) ? body.metadata : {};
  const object = {
    ...body,
    metadata: {
      ...metadata,
      ...(target.namespace === undefined
        ? {}
        : { namespace: target.namespace }),
      name: metadata.name ??
        `${metadata.generateName}${crypto.randomUUID().slice(0, 8)}`,
    },
  } as KubeObject;
  if (metadata.name === undefined && metadata.generateName === undefined) {
    throw new StatusError(422, "name or generateName is required");
  }
  if (
    metadata.namespace !== undefined && metadata.namespace !== target.namespace
  ) {
    throw new StatusError(
      400,
      "the namespace of the provided object does not match the namespace sent on the request",
    );
  }
  return context.store.create(target.type, await signed(context, object));
}

async function signed(
  context: HandlerContext,
  object: KubeObject,
): Promise<KubeObject> {
  if (
    object.kind !== "CertificateSigningRequest" || context.sign === undefined
  ) return object;
  const { request = "", expirationSeconds } = isObject(object.spec)
    ? object.spec
    : {};
  const certificate = await context.sign(
    atob(String(request)),
    typeof expirationSeconds === "number" ? { seconds: expirationSeconds } : {},
  );
  const condition = {
    type: "Approved",
    status: "True",
    reason: "StandIn",
    lastUpdateTime: timestamp(),
  };
  return {
    ...object,
    status: { conditions: [condition], certificate: btoa(certificate) },
  };
}

function review(
  context: HandlerContext,
  body: Record<string, unknown>,
): unknown {
  const spec = isObject(body.spec) ? body.spec : {};
  const asked = isObject(spec.resourceAttributes)
    ? spec.resourceAttributes
    : {};
  const text = (key: string): string => String(asked[key] ?? "");
  const allowed = context.allows({
    verb: text("verb"),
    group: text("group"),
    resource: text("resource"),
    ...(asked.namespace === undefined ? {} : { namespace: text("namespace") }),
    ...(asked.subresource === undefined
      ? {}
      : { subresource: text("subresource") }),
  });
  return {
    ...body,
    metadata: { creationTimestamp: null },
    status: { allowed },
  };
}

async function patch(
  context: HandlerContext,
  request: Request,
  target: Target,
): Promise<unknown> {
  const contentType = request.headers.get("content-type") ?? "";
  if (!contentType.startsWith(MERGE_PATCH)) {
    throw new StatusError(
      415,
      `the body of the request was in an unknown format: ${contentType}`,
    );
  }
  const body = await readJson(request);
  return context.store.update(keyOf(target), (object) => {
    assertPreconditions(object, body, target);
    const patched = mergePatch(object, body) as KubeObject;
    if (target.subresource !== "status") return patched;
    return {
      ...patched,
      ...(object.spec === undefined ? {} : { spec: object.spec }),
    };
  });
}

function assertPreconditions(
  object: KubeObject,
  body: unknown,
  target: Target,
): void {
  const asked = isObject(body) && isObject(body.metadata) ? body.metadata : {};
  const { name, uid, resourceVersion } = object.metadata;
  if (asked.uid !== undefined && asked.uid !== uid) {
    const invalid = `Invalid value: "${asked.uid}": field is immutable`;
    throw new StatusError(
      422,
      `${target.type.kind} "${name}" is invalid: metadata.uid: ${invalid}`,
      {
        details: {
          name,
          kind: target.type.kind,
          causes: [{
            reason: "FieldValueInvalid",
            message: invalid,
            field: "metadata.uid",
          }],
        },
      },
    );
  }
  if (
    asked.resourceVersion !== undefined &&
    asked.resourceVersion !== resourceVersion
  ) {
    const cause =
      "the object has been modified; please apply your changes to the latest version and try again";
    throw new StatusError(
      409,
      `Operation cannot be fulfilled on ${
        resourceName(target.type)
      } "${name}": ${cause}`,
    );
  }
}

async function readJson(request: Request): Promise<unknown> {
  try {
    return await request.json();
  } catch {
    throw new StatusError(400, "the body is not JSON");
  }
}

function isWatch(query: URLSearchParams): boolean {
  return query.get("watch") === "true" || query.get("watch") === "1";
}

function keyOf(
  target: Target,
): { type: Target["type"]; namespace?: string; name: string } {
  if (target.name === undefined) throw new StatusError(405, "a name is needed");
  return {
    type: target.type,
    name: target.name,
    ...(target.namespace === undefined ? {} : { namespace: target.namespace }),
  };
}
