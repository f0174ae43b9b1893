/**
 * What the stand-in API server was asked, so that a test can count it.
 *
 * @module
 */
import type { FaultSubject } from "./faults.ts";

/** One request that was answered. */
export interface RequestRecord extends FaultSubject {
  readonly namespace?: string;
  readonly query: string;
  readonly code: number;
  readonly userAgent: string;
  readonly token: string;
  readonly at: number;
}

/** Which requests to count; what is left out matches everything. */
export interface RequestFilter {
  readonly verb?: string;
  readonly resource?: string;
  readonly name?: string;
  readonly namespace?: string;
  readonly subresource?: string;
  readonly code?: number;
}

/** The requests seen, the oldest dropped first, and counters that are never dropped. */
export interface RequestLog {
  readonly records: readonly RequestRecord[];
  readonly counters: Readonly<Record<string, number>>;
  add(record: RequestRecord): void;
  count(filter?: RequestFilter): number;
  clear(): void;
}

/** A benchmark makes many thousands of requests; a test looks at the last few. */
const RECORDS_MAX = 20_000;

/** Makes an empty log. */
export function createRequestLog(): RequestLog {
  const records: RequestRecord[] = [];
  const counters: Record<string, number> = {};
  return {
    records,
    counters,
    add: (record) => {
      records.push(record);
      if (records.length > RECORDS_MAX) records.shift();
      const key = `${record.verb} ${record.resource} ${record.code}`;
      counters[key] = (counters[key] ?? 0) + 1;
    },
    count: (filter = {}) =>
      records.filter((record) => matches(record, filter)).length,
    clear: () => {
      records.length = 0;
      for (const key of Object.keys(counters)) delete counters[key];
    },
  };
}

function matches(record: RequestRecord, filter: RequestFilter): boolean {
  return (filter.verb === undefined || filter.verb === record.verb) &&
    (filter.resource === undefined || filter.resource === record.resource) &&
    (filter.name === undefined || filter.name === record.name) &&
    (filter.namespace === undefined || filter.namespace === record.namespace) &&
    (filter.subresource === undefined ||
      filter.subresource === record.subresource) &&
    (filter.code === undefined || filter.code === record.code);
}
