/**
 * What may be made to go wrong on purpose: which requests, how, and how often.
 *
 * @module
 */

/** Which requests a fault hits; what is left out matches everything. */
export interface FaultMatch {
  readonly verb?: string;
  readonly resource?: string;
  readonly name?: string;
  readonly subresource?: string;
}

/** One thing that goes wrong. */
export interface Fault {
  readonly match?: FaultMatch;
  /** Answer with this status: 401, 409, 410, 429, 500, … */
  readonly status?: number;
  /** The text of the answer's Status. */
  readonly message?: string;
  /** Give a Retry-After header with the status. */
  readonly retryAfterS?: number;
  /** Wait so long before anything else. */
  readonly delayMs?: number;
  /** Begin an answer and break it off; a watch is broken off after its first line. */
  readonly cut?: boolean;
  /** Drop the connection without an answer. */
  readonly drop?: boolean;
  /** Never answer, until the server stops. */
  readonly hang?: boolean;
  /** A watch begins well, then says in its stream that its revision is gone. */
  readonly expireWatch?: boolean;
  /** How many requests it hits; without it, all. */
  readonly times?: number;
  /** It hits each request with this probability; without it, each. */
  readonly rate?: number;
}

/** What a request is matched by. */
export interface FaultSubject {
  readonly verb: string;
  readonly resource: string;
  readonly name?: string;
  readonly subresource?: string;
}

/** The faults in force. */
export interface Faults {
  /** Adds a fault; the returned function takes it back. */
  add(fault: Fault): () => void;
  clear(): void;
  /** The first fault that hits this request, counted as used. */
  take(subject: FaultSubject): Fault | undefined;
}

/** Makes an empty set of faults. */
export function createFaults(random: () => number = Math.random): Faults {
  const entries = new Set<{ fault: Fault; left: number }>();
  return {
    add: (fault) => {
      const entry = { fault, left: fault.times ?? Infinity };
      entries.add(entry);
      return () => entries.delete(entry);
    },
    clear: () => entries.clear(),
    take: (subject) => {
      for (const entry of entries) {
        if (entry.left <= 0 || !matches(entry.fault.match ?? {}, subject)) {
          continue;
        }
        if (entry.fault.rate !== undefined && random() >= entry.fault.rate) {
          continue;
        }
        entry.left -= 1;
        return entry.fault;
      }
      return undefined;
    },
  };
}

function matches(match: FaultMatch, subject: FaultSubject): boolean {
  return (match.verb === undefined || match.verb === subject.verb) &&
    (match.resource === undefined || match.resource === subject.resource) &&
    (match.name === undefined || match.name === subject.name) &&
    (match.subresource === undefined ||
      match.subresource === subject.subresource);
}
