/**
 * Attachment records: for each container one file, `<cniDir>/<containerID>`,
 * that says what has to be undone. DEL, CHECK, GC, hot-plug and restart go by
 * it, never by what the cluster says now. Its text is in `record_format.ts`.
 *
 * **When the disk is waited for.** Once per ADD: before the first plugin runs,
 * the record with everything in it (temporary file, its name, then the fsyncs of
 * file and directory at once: a power cut in between may leave a record without
 * content, of a container that nothing was begun for, and the next boot's first
 * daemon puts it aside). A record that was just begun may be worked with before
 * that; its first change waits for it. After that, states and results are written into the same file in
 * place, without fsync, before and after each plugin:
 * - after `kill -9` the kernel still has every such write, so the record says
 *   exactly what was begun;
 * - after a power cut the file is at least what it was at the start, because it
 *   is never replaced by one that the disk does not have. States may be old
 *   then; {@linkcode mustUndo} knows by the boot's name and trusts none of them.
 *
 * Who may work on a container's record is decided elsewhere (`limits.ts`: one
 * operation at a time); nothing here locks.
 *
 * Needs read and write of the directory.
 *
 * @module
 */
import { assertContainerId } from "../cni/args.ts";
import { CniError, ErrorCode } from "../cni/error.ts";
import type { Result } from "../cni/result.ts";
import {
  type CreatedFile,
  createFileAtomic,
  TEMPORARY_PREFIX,
  writeFileAtomic,
} from "../host/atomic_file.ts";
import {
  type AttachmentRecord,
  type AttachmentState,
  encodeResult,
  formatRecord,
  formatState,
  type ParsedRecord,
  parseRecord,
  type Place,
  type RecordedAttachment,
} from "./record_format.ts";

export type {
  AttachmentRecord,
  AttachmentState,
  RecordedAttachment,
} from "./record_format.ts";

/** A record that cannot be read: its states cannot be trusted, nor can its configurations. */
export class DamagedRecordError extends Error {
  /** The name of the class. */
  override readonly name = "DamagedRecordError";
  /** The container that it belongs to. */
  readonly containerId: string;
  /** The file. */
  readonly path: string;
  /** What is wrong with it, for a person. */
  readonly reason: string;

  /** Makes an error for the record in the file. */
  constructor(
    containerId: string,
    options: { path: string; reason: string; cause?: unknown },
  ) {
    const { path, reason, cause } = options;
    super(`The attachment record is damaged: ${reason}: ${path}`, { cause });
    this.containerId = containerId;
    this.path = path;
    this.reason = reason;
  }
}

/** An attachment that is about to be begun. */
export type NewAttachment = Omit<
  RecordedAttachment,
  "state" | "result" | "isResultDamaged" | "recordedAt"
>;

/** A record that is about to be written for the first time. */
export interface NewRecord
  extends Omit<AttachmentRecord, "origin" | "bootId" | "attachments"> {
  /** In the order in which they will be begun. */
  readonly attachments: readonly NewAttachment[];
}

/** How an attachment has changed; a result goes with "done". */
export interface StateChange {
  /** The new state. */
  readonly state: AttachmentState;
  /** What the ADD came to. */
  readonly result?: Result;
}

/** One container's record, open for changes; dispose of it to close the file. */
export interface RecordHandle extends Disposable {
  /** The record as it stands now. */
  readonly record: AttachmentRecord;
  /** Resolves when the disk has what was begun; every change waits for it. Rejects with a {@linkcode CniError} of code 5. */
  readonly saved: Promise<void>;
  /**
   * Writes down how an attachment has changed. Resolves when a crash of this process can no longer
   * undo it.
   *
   * @throws {RangeError} When there is no such attachment.
   * @throws {CniError} I/O failure.
   */
  update(index: number, change: StateChange): Promise<void>;
  /**
   * Adds attachments (hot-plug), durably, and gives the index of the first of them.
   *
   * @throws {CniError} I/O failure.
   */
  append(attachments: readonly NewAttachment[]): Promise<number>;
  /**
   * Takes one attachment out (hot-unplug), durably; later ones move up. The last one is taken out
   * by removing the record.
   *
   * @throws {RangeError} When there is no such attachment, or it is the only one.
   * @throws {CniError} I/O failure.
   */
  drop(index: number): Promise<void>;
}

/** One line of `list`. */
export type ListedRecord =
  | { readonly containerId: string; readonly record: AttachmentRecord }
  | { readonly containerId: string; readonly error: DamagedRecordError };

/** What is kept in memory of an attachment, for gauges and for finding records by network. */
export interface AttachmentSummary {
  /** The display name. */
  readonly name: string;
  /** The `name` of the configuration, which GC goes by. */
  readonly network: string;
  /** The interface in the pod. */
  readonly ifname: string;
  /** How far it has come. */
  readonly state: AttachmentState;
}

/** What is kept in memory of a record. */
export interface RecordSummary {
  /** The pod; absent in a record of the Go daemon. */
  readonly pod?: AttachmentRecord["pod"];
  /** In the order of the record. */
  readonly attachments: readonly AttachmentSummary[];
}

/** Where records lie, and which boot this is. */
export interface RecordsOptions {
  /** `cniDir`. */
  readonly dir: string;
  /** From `readBootId`; without it, a record is never taken to be of this boot. */
  readonly bootId?: string;
  /** The time, for what is written down. */
  readonly now?: () => Date;
}

/** The attachment records of this node. */
export interface Records {
  /**
   * Makes the directory if need be, removes what a crash left half-written, and reads every record
   * once for the summaries. For the daemon's start, before anything else writes. In a new boot it puts aside
   * what a power cut left of a record that the disk never had: no plugin was run for it, and nobody may ever
   * ask for it, while GC waits for each record that cannot be read.
   */
  load(options?: { readonly isNewBoot?: boolean }): Promise<void>;
  /**
   * Writes a new record, every attachment still to do. It is there for everybody when this resolves; until
   * the disk has it, something else can be done (`saved`).
   *
   * @throws {RecordExistsError} When there is one, readable or not: it may say what has to be undone.
   * @throws {CniError} Invalid container ID, or I/O failure.
   */
  begin(record: NewRecord): Promise<RecordHandle>;
  /**
   * Opens a record for changes; `undefined` when there is none.
   *
   * @throws {DamagedRecordError} When it cannot be read.
   */
  open(
    containerId: string,
    options?: ReadOptions,
  ): Promise<RecordHandle | undefined>;
  /**
   * Reads a record; `undefined` when there is none.
   *
   * @throws {DamagedRecordError} When it cannot be read.
   */
  read(
    containerId: string,
    options?: ReadOptions,
  ): Promise<AttachmentRecord | undefined>;
  /** Removes a record; none is no error. */
  remove(containerId: string): Promise<void>;
  /**
   * Moves a damaged record out of the way, keeping it for a person to look at, and gives its new
   * path; `undefined` when there is no record.
   */
  quarantine(containerId: string): Promise<string | undefined>;
  /** Reads all records, in order of container ID. One that goes away meanwhile is left out. */
  list(): AsyncIterable<ListedRecord>;
  /** What is in the records, from memory; the records of damaged files are not in it. */
  summaries(): ReadonlyMap<string, RecordSummary>;
  /** The containers whose record is damaged and still in its place, as far as anybody has read it. */
  damaged(): ReadonlySet<string>;
  /** How many damaged records were moved out of the way since the start, for a counter. */
  quarantined(): number;
}

/** How a record is read. */
export interface ReadOptions {
  /** The default network's interface, which the Go daemon does not write down. */
  readonly ifname?: string;
}

/** There is a record for this container already. */
export class RecordExistsError extends Error {
  /** The name of the class. */
  override readonly name = "RecordExistsError";
  /** The container that it belongs to. */
  readonly containerId: string;

  /** Makes an error for the container. */
  constructor(containerId: string) {
    super(`There is an attachment record already: container ${containerId}`);
    this.containerId = containerId;
  }
}

/** Directories in `cniDir` that hold other things. */
export const RESERVED_NAMES: readonly string[] = [
  "quarantine",
  "results",
  "spool",
];

// File systems allow 255; some is left for the time stamp of a quarantined file.
const CONTAINER_ID_LENGTH_MAX = 200;

// Enough to see a pattern; the disk must not fill with what nobody looks at.
const QUARANTINED_MAX = 100;

// What every runtime that Kubernetes knows calls the pod's first interface.
const DEFAULT_IFNAME = "eth0";

/**
 * Whether an attachment has to be undone. Within one boot the state is exact. After another boot,
 * states written last may be lost, and what plugins keep on disk (addresses) is still there: then
 * everything is undone, which costs little, since undoing what is not there is no error.
 */
export function mustUndo(
  attachment: Pick<RecordedAttachment, "state">,
  bootIds: {
    readonly recorded: string | undefined;
    readonly current: string | undefined;
  },
): boolean {
  const { recorded, current } = bootIds;
  if (recorded === undefined || recorded !== current) return true;
  return attachment.state === "begun" || attachment.state === "done";
}

/** Gives the attachment records in a directory; reads nothing yet. */
export function createRecords(options: RecordsOptions): Records {
  return new RecordStore(options);
}

class RecordStore implements Records {
  readonly #dir: string;
  readonly #bootId: string | undefined;
  readonly #now: () => Date;
  readonly #summaries = new Map<string, RecordSummary>();
  readonly #damaged = new Set<string>();
  #quarantined = 0;

  constructor({ dir, bootId, now = (): Date => new Date() }: RecordsOptions) {
    this.#dir = dir.replace(/\/+$/, "");
    this.#bootId = bootId;
    this.#now = now;
  }

  async load({ isNewBoot = false } = {}): Promise<void> {
    await makeDir(this.#dir);
    for await (const { name, isFile } of Deno.readDir(this.#dir)) {
      if (!isFile || !name.startsWith(TEMPORARY_PREFIX)) continue;
      removeIfThere(`${this.#dir}/${name}`);
    }
    // Reading a record is what puts it into the summaries.
    for await (const listed of this.list()) {
      if (!isNewBoot || !("error" in listed)) continue;
      const { containerId } = listed;
      if (this.#hasContent(containerId)) continue;
      await this.quarantine(containerId);
    }
  }

  /** Once the disk has a record, it has its length and no zero bytes: only text is written over text. */
  #hasContent(containerId: string): boolean {
    const bytes = readIfThere(this.#path(containerId));
    return bytes === undefined || (bytes.length > 0 && !bytes.includes(0));
  }

  async begin(
    { attachments, ...common }: NewRecord,
  ): Promise<RecordHandle> {
    const { containerId } = common;
    const path = this.#path(containerId);
    const record: AttachmentRecord = {
      ...common,
      origin: "own",
      ...(this.#bootId !== undefined && { bootId: this.#bootId }),
      attachments: this.#asTodo(attachments),
    };
    const { text, places } = await formatRecord(record);
    try {
      const created = await orIoFailure(
        path,
        () => createFileAtomic(path, text),
      );
      this.#remember(record);
      return this.#handle(path, { record, places }, created);
    } catch (error) {
      const isThere = error instanceof CniError &&
        error.cause instanceof Deno.errors.AlreadyExists;
      throw isThere ? new RecordExistsError(containerId) : error;
    }
  }

  async open(
    containerId: string,
    options: ReadOptions = {},
  ): Promise<RecordHandle | undefined> {
    const parsed = await this.#read(containerId, options);
    return parsed && this.#handle(this.#path(containerId), parsed);
  }

  async read(
    containerId: string,
    options: ReadOptions = {},
  ): Promise<AttachmentRecord | undefined> {
    return (await this.#read(containerId, options))?.record;
  }

  remove(containerId: string): Promise<void> {
    return Promise.try(() => {
      removeIfThere(this.#path(containerId));
      this.#forget(containerId);
    });
  }

  async quarantine(containerId: string): Promise<string | undefined> {
    const path = this.#path(containerId);
    this.#forget(containerId);
    if (!isThere(path)) return undefined;
    const dir = `${this.#dir}/quarantine`;
    await makeDir(dir);
    const stamp = this.#now().toISOString().replaceAll(/[-:]/g, "");
    const target = `${dir}/${stamp}-${containerId}`;
    await Deno.rename(path, target);
    this.#quarantined += 1;
    await removeOldest(dir);
    return target;
  }

  async *list(): AsyncGenerator<ListedRecord> {
    for (const containerId of await this.#containerIds()) {
      try {
        const parsed = await this.#read(containerId, {});
        if (parsed) yield { containerId, record: parsed.record };
      } catch (error) {
        if (!(error instanceof DamagedRecordError)) throw error;
        yield { containerId, error };
      }
    }
  }

  summaries(): ReadonlyMap<string, RecordSummary> {
    return this.#summaries;
  }

  damaged(): ReadonlySet<string> {
    return this.#damaged;
  }

  quarantined(): number {
    return this.#quarantined;
  }

  async #containerIds(): Promise<string[]> {
    const names: string[] = [];
    for await (const { name, isFile } of Deno.readDir(this.#dir)) {
      if (isFile && isRecordName(name)) names.push(name);
    }
    return names.sort();
  }

  #path(containerId: string): string {
    assertContainerId(containerId);
    if (isRecordName(containerId)) return `${this.#dir}/${containerId}`;
    throw new CniError(
      ErrorCode.invalidEnvironment,
      `The container ID cannot be used as a file name: ${containerId}`,
    );
  }

  #asTodo(attachments: readonly NewAttachment[]): RecordedAttachment[] {
    const recordedAt = this.#now().toISOString();
    return attachments.map((attachment) => ({
      ...attachment,
      recordedAt,
      state: "todo",
    }));
  }

  async #read(
    containerId: string,
    { ifname = DEFAULT_IFNAME }: ReadOptions,
  ): Promise<ParsedRecord | undefined> {
    const path = this.#path(containerId);
    const bytes = readIfThere(path);
    if (bytes === undefined) {
      this.#forget(containerId);
      return undefined;
    }
    try {
      const text = decode(bytes);
      const options = { containerId, defaultIfname: ifname };
      const parsed = await parseRecord(text, options);
      this.#remember(parsed.record);
      return parsed;
    } catch (cause) {
      this.#forget(containerId);
      this.#damaged.add(containerId);
      const reason = cause instanceof Error ? cause.message : String(cause);
      throw new DamagedRecordError(containerId, { path, reason, cause });
    }
  }

  async #write(path: string, record: AttachmentRecord): Promise<ParsedRecord> {
    const { text, places } = await formatRecord(record);
    await orIoFailure(path, () => writeFileAtomic(path, text, { mode: 0o600 }));
    this.#remember(record);
    return { record, places };
  }

  #handle(
    path: string,
    parsed: ParsedRecord,
    created?: CreatedFile,
  ): RecordHandle {
    return new OpenRecord(path, {
      parsed,
      created,
      write: (record) => this.#write(path, record),
      rememberState: (record, index) => this.#rememberState(record, index),
      asTodo: (attachments) => this.#asTodo(attachments),
    });
  }

  #remember(record: AttachmentRecord): void {
    this.#damaged.delete(record.containerId);
    this.#summaries.set(record.containerId, summarize(record));
  }

  /** Of a record that is known, one attachment of which has changed its state: twice for each in an ADD. */
  #rememberState(record: AttachmentRecord, index: number): void {
    const known = this.#summaries.get(record.containerId);
    const before = known?.attachments[index];
    const now = record.attachments[index];
    if (known === undefined || before === undefined || now === undefined) {
      return this.#remember(record);
    }
    const after = { ...before, state: now.state };
    this.#summaries.set(record.containerId, {
      ...known,
      attachments: known.attachments.with(index, after),
    });
  }

  #forget(containerId: string): void {
    this.#damaged.delete(containerId);
    this.#summaries.delete(containerId);
  }
}

interface OpenRecordOptions {
  readonly parsed: ParsedRecord;
  /** The file, just made; without it, it is opened when it is first needed. */
  readonly created: CreatedFile | undefined;
  readonly write: (record: AttachmentRecord) => Promise<ParsedRecord>;
  readonly rememberState: (record: AttachmentRecord, index: number) => void;
  readonly asTodo: (
    attachments: readonly NewAttachment[],
  ) => RecordedAttachment[];
}

class OpenRecord implements RecordHandle {
  readonly #path: string;
  readonly #options: OpenRecordOptions;
  readonly saved: Promise<void>;
  #parsed: ParsedRecord;
  #file: Deno.FsFile | undefined;
  // One change after the other: they share the file's position, and wait for the disk to have what was begun.
  #last: Promise<unknown>;

  constructor(path: string, options: OpenRecordOptions) {
    this.#path = path;
    this.#options = options;
    this.#parsed = options.parsed;
    this.#file = options.created?.file;
    this.saved = orIoFailure(path, () => options.created?.saved);
    this.#last = this.saved;
    this.#last.catch(() => {}); // The first change hears of it.
  }

  get record(): AttachmentRecord {
    return this.#parsed.record;
  }

  async update(index: number, change: StateChange): Promise<void> {
    await this.#inTurn(async () => {
      const changed = this.#replace(index, change);
      const place = this.#parsed.places?.[index];
      if (place === undefined || !await this.#overwrite(place, change)) {
        return await this.#rewrite(changed);
      }
      this.#parsed = { ...this.#parsed, record: changed };
      this.#options.rememberState(changed, index);
    });
  }

  async append(attachments: readonly NewAttachment[]): Promise<number> {
    return await this.#inTurn(async () => {
      const { record } = this.#parsed;
      const added = this.#options.asTodo(attachments);
      await this.#rewrite({
        ...record,
        attachments: [...record.attachments, ...added],
      });
      return record.attachments.length;
    });
  }

  async drop(index: number): Promise<void> {
    await this.#inTurn(async () => {
      this.#at(index);
      const { record } = this.#parsed;
      const attachments = record.attachments.toSpliced(index, 1);
      await this.#rewrite({ ...record, attachments });
    });
  }

  [Symbol.dispose](): void {
    const file = this.#file;
    this.#file = undefined;
    const isUndone = this.record.attachments.every(({ state }) =>
      state === "undone"
    );
    // The file has been removed, then, and goes when it is closed, which takes the kernel its time.
    if (isUndone) setTimeout(() => file?.close());
    else file?.close();
  }

  async #inTurn<T>(change: () => Promise<T>): Promise<T> {
    const turn = this.#last.then(change);
    this.#last = turn.catch(() => {});
    return await turn;
  }

  #at(index: number): RecordedAttachment {
    const attachment = this.#parsed.record.attachments[index];
    if (attachment !== undefined) return attachment;
    throw new RangeError(`The record has no such attachment: ${index}`);
  }

  #replace(index: number, change: StateChange): AttachmentRecord {
    const { record } = this.#parsed;
    const attachment = { ...this.#at(index), ...change };
    if (change.result !== undefined) delete attachment.isResultDamaged;
    const attachments = record.attachments.with(index, attachment);
    return { ...record, attachments };
  }

  // False when the result needs more room than there is.
  async #overwrite(place: Place, change: StateChange): Promise<boolean> {
    const { stateAt, resultAt, resultLength } = place;
    const { state, result } = change;
    const encoded = result && await encodeResult(result);
    if (encoded !== undefined && encoded.length > resultLength) return false;
    await orIoFailure(this.#path, () => {
      // The result first: "done" without a result would be taken for a result that is lost.
      if (encoded) this.#writeAt(resultAt, encoded.padEnd(resultLength));
      this.#writeAt(stateAt, formatState(state));
    });
    return true;
  }

  // Into the kernel's memory, six times in an ADD of three: a turn of the thread pool would take ten times as long.
  #writeAt(position: number, text: string): void {
    this.#file ??= Deno.openSync(this.#path, { write: true });
    this.#file.seekSync(position, Deno.SeekMode.Start);
    const bytes = new TextEncoder().encode(text);
    let written = 0;
    while (written < bytes.length) {
      written += this.#file.writeSync(bytes.subarray(written));
    }
  }

  async #rewrite(record: AttachmentRecord): Promise<void> {
    this[Symbol.dispose](); // The open file is about to be another one.
    this.#parsed = await this.#options.write({ ...record, origin: "own" });
  }
}

function summarize({ pod, attachments }: AttachmentRecord): RecordSummary {
  return {
    ...(pod && { pod }),
    attachments: attachments.map(({ name, ifname, state, config }) => ({
      name,
      network: networkOf(config) ?? name,
      ifname,
      state,
    })),
  };
}

function networkOf(config: string): string | undefined {
  const { name }: { name?: unknown } = JSON.parse(config);
  return typeof name === "string" ? name : undefined;
}

function isRecordName(name: string): boolean {
  return /^[a-zA-Z0-9][a-zA-Z0-9_.-]*$/.test(name) &&
    name.length <= CONTAINER_ID_LENGTH_MAX && !RESERVED_NAMES.includes(name);
}

function readIfThere(path: string): Uint8Array | undefined {
  try {
    return Deno.readFileSync(path);
  } catch (error) {
    if (error instanceof Deno.errors.NotFound) return undefined;
    throw error;
  }
}

function decode(bytes: Uint8Array): string {
  const decoder = new TextDecoder("utf-8", { fatal: true, ignoreBOM: true });
  return decoder.decode(bytes);
}

async function orIoFailure<T>(
  path: string,
  write: () => T | Promise<T>,
): Promise<T> {
  try {
    return await write();
  } catch (cause) {
    const reason = cause instanceof Error ? cause.message : String(cause);
    throw new CniError(
      ErrorCode.ioFailure,
      `Cannot write the attachment record: ${reason}: ${path}`,
      { cause },
    );
  }
}

async function makeDir(path: string): Promise<void> {
  await Deno.mkdir(path, { recursive: true, mode: 0o700 });
}

function isThere(path: string): boolean {
  try {
    Deno.lstatSync(path);
    return true;
  } catch (error) {
    if (error instanceof Deno.errors.NotFound) return false;
    throw error;
  }
}

function removeIfThere(path: string): void {
  try {
    Deno.removeSync(path);
  } catch (error) {
    if (!(error instanceof Deno.errors.NotFound)) throw error;
  }
}

async function removeOldest(dir: string): Promise<void> {
  const names: string[] = [];
  for await (const { name } of Deno.readDir(dir)) names.push(name);
  for (const name of names.sort().slice(0, -QUARANTINED_MAX)) {
    removeIfThere(`${dir}/${name}`);
  }
}
