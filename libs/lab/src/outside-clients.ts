import { spawn, type ChildProcess } from 'node:child_process';
import { closeSync, existsSync, openSync } from 'node:fs';
import { join } from 'node:path';
import { GUEST_PORTS, type Load } from './guests.js';
import type { Lab } from './lab.js';
import { LabUnavailable } from './namespaces.js';
import type { OutsideAnswer, OutsideRequest, OutsideSettings } from './outside/main.js';
import type { ProbeReport } from './outside/prober.js';
import type { WriterCheck, WriterStatus } from './outside/redis-writer.js';
import type { RemembranceCheck } from './outside/remembrance.js';

/** From dist also when the caller runs from source: the process has several files. */
const MAIN = join(import.meta.dirname, '..', 'dist', 'outside', 'main.js');

export interface OutsideStatus { readonly writer: WriterStatus; readonly probe: ProbeReport; /** Entries of histories, and transactions, that were acknowledged. */ readonly appended: number; readonly committed: number }
export interface OutsideMore { readonly probe_ms?: number; /** Guests whose histories are appended to. */ readonly histories?: readonly string[]; readonly database?: { readonly address: string; readonly load: NonNullable<Load['disks']> } | null }

/** Clients of the guests on the outside network: writers that remember what was acknowledged, and a prober that always connects anew. */
export class OutsideClients {
  private next = 1;
  private readonly waiting = new Map<number, { resolve: (value: unknown) => void; reject: (error: Error) => void }>();

  private constructor(private readonly entered: ChildProcess) {
    entered.on('message', (answer: OutsideAnswer) => {
      const asked = this.waiting.get(answer.id);
      this.waiting.delete(answer.id);
      if ('failed' in answer) asked?.reject(new Error(answer.failed));
      else asked?.resolve(answer.value);
    });
    entered.once('close', () => {
      for (const { reject } of this.waiting.values()) reject(new Error('the outside clients have ended: see outside.log'));
      this.waiting.clear();
    });
  }

  /** `address`: the guest with Redis. */
  static start(lab: Lab, address: string, load: Load['client'], { probe_ms = 20, histories = [], database = null }: OutsideMore = {}): OutsideClients {
    if (!existsSync(MAIN)) throw new LabUnavailable(`${MAIN} is not built: npm run build`);
    const settings: OutsideSettings = {
      redis: { host: address, port: GUEST_PORTS.redis }, load, probe_ms, histories: histories.map((host) => ({ host, port: GUEST_PORTS.history })),
      database: database === null ? null : { target: { host: database.address, port: GUEST_PORTS.database }, load: database.load },
    };
    const [first = '', ...words] = [...lab.site.machine.enter(), process.execPath, MAIN, JSON.stringify(settings)];
    const log = openSync(join(lab.dir, 'outside.log'), 'a');
    try {
      return new OutsideClients(spawn(first, words, { env: process.env, stdio: ['ignore', log, log, 'ipc'] }));
    } finally {
      closeSync(log);
    }
  }

  private ask(request: OutsideRequest): Promise<unknown> {
    const id = this.next++;
    return new Promise((resolve, reject) => {
      this.waiting.set(id, { resolve, reject });
      this.entered.send({ ...request, id }, (error) => { if (error) reject(error); });
    });
  }

  /** Begins to write. */
  async write(): Promise<void> { await this.ask({ ask: 'write' }); }
  /** Begins to probe; `rest` ends it. */
  async probe(): Promise<void> { await this.ask({ ask: 'probe' }); }
  async rest(): Promise<void> { await this.ask({ ask: 'rest' }); }
  /** The prober's figures count from the given moment (of `performance.now()` here). */
  async mark(at_ms = performance.now()): Promise<void> { await this.ask({ ask: 'mark', ago_ms: performance.now() - at_ms }); }
  async status(): Promise<OutsideStatus> { return await this.ask({ ask: 'status' }) as OutsideStatus; }
  /** Whether every acknowledged write is there. */
  async check(): Promise<WriterCheck> { return await this.ask({ ask: 'check' }) as WriterCheck; }
  /** Whether every guest's history begins with what was told of it, in the guests' order. */
  async checkHistories(): Promise<RemembranceCheck[]> { return await this.ask({ ask: 'check-histories' }) as RemembranceCheck[]; }
  /** Whether every acknowledged transaction is there; null: there is no database. */
  async checkTransactions(): Promise<RemembranceCheck | null> { return await this.ask({ ask: 'check-transactions' }) as RemembranceCheck | null; }
  async stop(): Promise<WriterStatus> { return await this.ask({ ask: 'stop' }) as WriterStatus; }
}
