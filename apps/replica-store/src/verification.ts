import { randomUUID } from 'node:crypto';
import { mkdir, mkdtemp, rm } from 'node:fs/promises';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { ApiError } from '@virtcft/bus';
import { allCuts, Audit, CutBroken, cutsBehind, foldCut, type AuditOptions, type Fault } from '@virtcft/checkpoint';
import type { CutRef } from '@virtcft/events';
import type { ObjectStore } from '@virtcft/object-store';
import { limits } from './limits.js';

type CutName = Pick<CutRef, 'key' | 'hash'>;

/** What is asked for: one cut with all that it rests on, proved by folding it; or everything that any cut known or listed rests on. */
export type Wanted = { readonly cut: CutRef } | { readonly all: readonly CutName[] };

export interface VerificationStatus {
  readonly id: string;
  readonly cluster: string;
  /** failed: the store could not be read to the end; nothing is said about the cuts. */
  readonly state: 'running' | 'done' | 'failed';
  readonly detail: string;
  readonly cuts: number;
  readonly cuts_total: number;
  readonly objects: number;
  readonly read_bytes: number;
  /** The first of them; `faults_total` counts all. */
  readonly faults: readonly Fault[];
  readonly faults_total: number;
  /** Keys of the first cuts that cannot be restored. */
  readonly broken: readonly string[];
  readonly broken_total: number;
  /** SHA-256 of each memory and disk of the cut that was folded; null when none was. */
  readonly digests: Readonly<Record<string, string>> | null;
}

interface Running { status: VerificationStatus; audit: Audit | null; ended: Promise<void> }

/** Reads on request what cuts rest on. One at a time: it must leave the store to those who keep the cluster alive. */
export class Verifications {
  private current: Running | null = null;
  private readonly stop = new AbortController();

  constructor(private readonly store: ObjectStore, private readonly scratch: string, private readonly removed: (key: string) => boolean = () => false, /** After all cuts of a cluster were found sound. */ private readonly sound: (cluster: string) => Promise<void> = () => Promise.resolve()) {}

  /** Throws ApiError `not-now` while another runs. */
  start(cluster: string, wanted: Wanted): VerificationStatus {
    if (this.current?.status.state === 'running') throw new ApiError('not-now', 'another verification is running', 'ask again when it has ended');
    const status: VerificationStatus = {
      id: randomUUID(), cluster, state: 'running', detail: '', cuts: 0, cuts_total: 0, objects: 0, read_bytes: 0, faults: [], faults_total: 0, broken: [], broken_total: 0, digests: null,
    };
    const mine: Running = { status, audit: null, ended: Promise.resolve() };
    this.current = mine;
    mine.ended = this.run(mine, wanted).catch((error: unknown) => {
      mine.status = { ...statusOf(mine), state: 'failed', detail: (error as Error).message.slice(0, 500) };
    });
    return status;
  }

  /** Throws ApiError `not-found`: of the one that was started last is known how it is. */
  status(id: string): VerificationStatus {
    if (this.current?.status.id !== id) throw new ApiError('not-found', `no verification ${id} is known here`, 'start it again');
    return statusOf(this.current);
  }

  async close(): Promise<void> {
    this.stop.abort();
    await this.current?.ended;
  }

  private async run(mine: Running, wanted: Wanted): Promise<void> {
    const { cluster } = mine.status;
    const audit = new Audit(this.store, cluster, { visited: (_, bytes) => this.pace(bytes), removed: this.removed, ...partialTo(wanted) });
    mine.audit = audit;
    await audit.generations();
    const cuts = 'all' in wanted ? await allCuts(this.store, cluster, wanted.all) : await cutsBehind(this.store, wanted.cut);
    await ('all' in wanted ? audit.bases() : audit.findBases());
    mine.status = { ...mine.status, cuts_total: cuts.length };
    for (const cut of cuts) await audit.cut(cut);
    const digests = 'cut' in wanted && audit.faults.length === 0 ? await this.fold(audit, wanted.cut) : null;
    if ('all' in wanted && audit.faults.length === 0) await this.sound(cluster);
    mine.status = { ...statusOf(mine), state: 'done', digests };
  }

  /** The proof that an audit cannot give: the cut is built as a restore builds it. */
  private async fold(audit: Audit, cut: CutRef): Promise<Record<string, string> | null> {
    await mkdir(this.scratch, { recursive: true, mode: 0o700 });
    const folder = await mkdtemp(join(this.scratch, 'verify-'));
    try {
      const fold = await foldCut(this.store, cut, folder);
      try {
        return await fold.digests();
      } finally {
        await fold.abandon();
      }
    } catch (error) {
      if (!(error instanceof CutBroken)) throw error;
      audit.faults.push({ key: error.key, part: 'fold', reason: error.reason });
      audit.broken.push(cut);
      return null;
    } finally {
      await rm(folder, { recursive: true, force: true });
    }
  }

  private async pace(bytes: number): Promise<void> {
    this.stop.signal.throwIfAborted();
    await sleep(bytes / limits.verify_bytes_per_ms, undefined, { signal: this.stop.signal });
  }
}

function statusOf({ status, audit }: Running): VerificationStatus {
  if (audit === null || status.state !== 'running') return status;
  const { cuts, objects, read_bytes, faults, broken } = audit;
  return {
    ...status, cuts, objects, read_bytes, faults: faults.slice(0, limits.told_faults), faults_total: faults.length,
    broken: broken.slice(0, limits.told_faults).map(({ key }) => key), broken_total: broken.length,
  };
}

/** Of everything, what the log does not name as retained may be there for others only. */
function partialTo(wanted: Wanted): Pick<AuditOptions, 'partial'> {
  if (!('all' in wanted)) return { partial: (key) => key !== wanted.cut.key };
  const whole = new Set(wanted.all.map(({ key }) => key));
  return { partial: (key) => !whole.has(key) };
}
