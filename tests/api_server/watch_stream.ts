/**
 * One watch of the stand-in API server: JSON lines that follow the changes of a
 * kind, as chunked HTTP. What a client sees of a change depends on its selector:
 * an object that begins to match is ADDED, one that ceases to match is DELETED.
 *
 * @module
 */
import { apiVersionOf, type ResourceType } from "./resources.ts";
import type { Selector } from "./selectors.ts";
import { StatusError, toStatus } from "./status.ts";
import type { Change, KubeObject, Store } from "./store.ts";

/** What a watch follows and when it ends by itself. */
export interface WatchOptions {
  readonly type: ResourceType;
  readonly namespace?: string;
  readonly selects: Selector;
  /** The revision to go on from; without it, or "0", the present objects come first. */
  readonly resourceVersion?: string;
  readonly bookmarks: boolean;
  readonly timeoutMs: number;
  /** Break it off after its first line. */
  readonly cutAfterFirst?: boolean;
  /** Say "gone" in the stream at once. */
  readonly expire?: boolean;
}

/** A running watch. */
export interface WatchStream {
  readonly body: ReadableStream<Uint8Array>;
  /** Ends it as a server does whose time is up. */
  end(): void;
  /** Breaks it off. */
  cut(): void;
  sendBookmark(): void;
}

const encoder = new TextEncoder();

/** Opens a watch, which is one of `watches` until it is closed. @throws {StatusError} 410 when the revision is no longer kept. */
export function openWatch(
  store: Store,
  options: WatchOptions,
  watches: Set<WatchStream>,
): WatchStream {
  let controller: ReadableStreamDefaultController<Uint8Array> | undefined;
  let sent = 0;
  const first = firstEvents(store, options);
  const send = (type: string, object: unknown): void => {
    sent += 1;
    controller?.enqueue(
      encoder.encode(`${JSON.stringify({ type, object })}\n`),
    );
  };
  const stopListening = store.listen((change) => {
    const event = eventOf(change, options);
    if (event === undefined) return;
    send(event.type, event.object);
  });
  const close = (
    finish: (open: ReadableStreamDefaultController<Uint8Array>) => void,
  ): void => {
    const open = controller;
    if (open === undefined) return;
    controller = undefined;
    clearTimeout(timer);
    stopListening();
    watches.delete(stream);
    finish(open);
  };
  const stream: WatchStream = {
    body: new ReadableStream({
      start: (opened) => {
        controller = opened;
      },
      // Called when all that was sent is taken: what is not would be lost in a cut.
      pull: () => {
        if (options.cutAfterFirst && sent > 0) stream.cut();
      },
      cancel: () => close(() => {}),
    }),
    end: () => close((open) => open.close()),
    cut: () =>
      close((open) => open.error(new StatusError(500, "watch cut on purpose"))),
    sendBookmark: () => {
      if (options.bookmarks) {
        send("BOOKMARK", bookmark(options.type, store.revision));
      }
    },
  };
  watches.add(stream);
  const timer = setTimeout(stream.end, options.timeoutMs);
  for (const event of first) send(event.type, event.object);
  return stream;
}

interface WatchEvent {
  readonly type: string;
  readonly object: unknown;
}

function firstEvents(store: Store, options: WatchOptions): WatchEvent[] {
  if (options.expire) {
    return [{
      type: "ERROR",
      object: toStatus(new StatusError(410, "too old resource version")),
    }];
  }
  if (
    options.resourceVersion === undefined || options.resourceVersion === "0"
  ) {
    const objects = store.list(options.type, options.namespace).filter(
      options.selects,
    );
    return objects.map((object) => ({ type: "ADDED", object }));
  }
  return store.changesSince(options.type, Number(options.resourceVersion))
    .map((change) => eventOf(change, options))
    .filter((event) => event !== undefined);
}

function eventOf(
  change: Change,
  options: WatchOptions,
): WatchEvent | undefined {
  const { object, previous, type } = change;
  if (type !== options.type) return undefined;
  if (
    options.namespace !== undefined &&
    object.metadata.namespace !== options.namespace
  ) return undefined;
  const before = previous !== undefined && options.selects(previous);
  const now = !change.deleted && options.selects(object);
  if (now) return { type: before ? "MODIFIED" : "ADDED", object };
  return before
    ? { type: "DELETED", object: atRevision(previous, change.revision) }
    : undefined;
}

function atRevision(object: KubeObject, revision: number): KubeObject {
  return {
    ...object,
    metadata: { ...object.metadata, resourceVersion: String(revision) },
  };
}

function bookmark(type: ResourceType, revision: number): unknown {
  return {
    kind: type.kind,
    apiVersion: apiVersionOf(type),
    metadata: { resourceVersion: String(revision), creationTimestamp: null },
  };
}
