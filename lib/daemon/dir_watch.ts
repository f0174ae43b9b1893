/**
 * Hints that something in a directory changed. Only hints: events are lost,
 * come late, or never (a directory made anew, no watches left on the node), so
 * whoever listens reads again on a timer as well.
 *
 * Needs read of the directories.
 *
 * @module
 */

/** Watches that are kept up. */
export interface DirWatch extends AsyncDisposable {
  /** Watches again what is not watched: a directory that was not there, or was replaced. */
  refresh(): void;
}

/** Watches directories, not what is below them, and calls `onHint` for each change. */
export function watchDirs(
  dirs: readonly string[],
  onHint: () => void,
): DirWatch {
  const open = new Map<string, Deno.FsWatcher>();
  const running = new Set<Promise<void>>();
  function refresh(): void {
    for (const dir of dirs) {
      if (open.has(dir)) continue;
      const watcher = tryWatch(dir);
      if (watcher === undefined) continue;
      open.set(dir, watcher);
      const following = follow(watcher, { dir, onHint }).finally(() => {
        if (open.get(dir) === watcher) open.delete(dir);
        running.delete(following);
      });
      running.add(following);
    }
  }
  refresh();
  return {
    refresh,
    async [Symbol.asyncDispose](): Promise<void> {
      for (const watcher of open.values()) close(watcher);
      open.clear();
      await Promise.all(running);
    },
  };
}

/** Undefined if it cannot be watched now: the timer does without. */
function tryWatch(dir: string): Deno.FsWatcher | undefined {
  try {
    return Deno.watchFs(dir, { recursive: false });
  } catch {
    return undefined;
  }
}

/** Ends, without an error, when the watcher is closed, breaks, or its directory goes. */
async function follow(
  watcher: Deno.FsWatcher,
  { dir, onHint }: { dir: string; onHint: () => void },
): Promise<void> {
  try {
    for await (const { kind, paths } of watcher) {
      if (kind === "access") continue; // readers, ourselves among them
      onHint();
      if (!paths.includes(dir)) continue;
      if (kind === "remove" || kind === "rename") return; // which closes it
    }
  } catch {
    close(watcher);
    onHint(); // what was missed will be read
  }
}

function close(watcher: Deno.FsWatcher): void {
  try {
    watcher.close();
  } catch {
    return; // closed already, by its end
  }
}
