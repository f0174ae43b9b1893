/**
 * The API server of the benchmark, seen from the benchmark: `api_process.ts`
 * and what it is told.
 */
import { join } from "node:path";
import { type LineProcess, startLineProcess } from "./line_process.ts";

/** What the process is told; what is left out stays as it is. */
export interface ApiCommand {
  /** Makes pods `prefix-0` and so on. */
  readonly pods?: {
    readonly count: number;
    readonly prefix?: string;
    readonly networks?: string;
    readonly nodeName?: string;
  };
  /** Makes networks of the plugin that does nothing. */
  readonly networks?: { readonly count: number; readonly prefix?: string };
  /** Objects as they are. */
  readonly objects?: readonly unknown[];
  /** Removes the pods of a prefix. */
  readonly removePods?: string;
  /** Answers everything so much later; 0 for at once. */
  readonly delayMs?: number;
  /** Counts from zero after this. */
  readonly clear?: boolean;
}

/** What it answers. */
export interface ApiAnswer {
  readonly port: number;
  readonly token: string;
  readonly caPem: string;
  /** Requests by "verb resource status", before it was told to clear them. */
  readonly counters: Readonly<Record<string, number>>;
  readonly inFlight: number;
}

/** The API server. */
export interface BenchApi extends AsyncDisposable {
  tell(command: ApiCommand): Promise<ApiAnswer>;
}

/** Starts the process. */
export function startApi(): BenchApi {
  const process: LineProcess = startLineProcess([
    Deno.execPath(),
    "run",
    "--quiet",
    "--cached-only",
    "--allow-net=127.0.0.1",
    "--allow-env",
    join(import.meta.dirname ?? ".", "api_process.ts"),
  ]);
  return {
    tell: async (command) =>
      JSON.parse(await process.tell(JSON.stringify(command))),
    [Symbol.asyncDispose]: () => process[Symbol.asyncDispose](),
  };
}

/** How many requests with that verb were counted, of all resources or one. */
export function requestsOf(
  { counters }: ApiAnswer,
  verb: string,
  resource?: string,
): number {
  let count = 0;
  for (const [key, times] of Object.entries(counters)) {
    const [ofVerb, ofResource] = key.split(" ");
    if (ofVerb === verb && (resource ?? ofResource) === ofResource) {
      count += times;
    }
  }
  return count;
}
