import { randomBytes } from 'node:crypto';
import { setTimeout as sleep } from 'node:timers/promises';
import { Redis } from 'ioredis';
import type { Load } from '../guests.js';
import { Latencies } from './measure.js';

export interface WriterCheck { readonly keys: number; readonly acked: number; readonly lost: number; readonly unknown: number; /** What was wrong, first few. */ readonly complaints: readonly string[] }
export interface WriterStatus { readonly acked: number; readonly failed: number; readonly reconnects: number; readonly latency_ms: ReturnType<Latencies['summary']>; /** Longest time without any acknowledged write. */ readonly longest_silence_ms: number }

const CONNECT_MS = 1_000;
const CHECK_MS = 30_000; // a recovery and some retransmits
const COMPLAINTS = 5;

/**
 * Outside clients of Redis. Each key has one writer and its values carry a rising number, so that every acknowledged write can be asked for
 * later: a smaller number is a lost write, one never sent is an invented one.
 */
export class RedisWriter {
  private readonly issued = new Map<string, number>();
  private readonly acknowledged = new Map<string, number>();
  private readonly latencies = new Latencies();
  private readonly clients: Redis[];
  private acked = 0;
  private failed = 0;
  private reconnects = 0;
  private lastAck_ms = performance.now();
  private longestSilence_ms = 0;
  private stopping = false;
  private working: Promise<void>[] = [];

  constructor(private readonly target: { host: string; port: number }, private readonly load: Load['client']) {
    this.clients = Array.from({ length: load.clients }, () => this.client());
  }

  private client(): Redis {
    // A write that was in doubt when its connection broke is sent again on the next: it sets the same value.
    const client = new Redis({ ...this.target, connectTimeout: CONNECT_MS, retryStrategy: () => 50, maxRetriesPerRequest: null, lazyConnect: false, noDelay: true });
    client.on('error', () => { this.failed++; });
    client.on('reconnecting', () => { this.reconnects++; });
    return client;
  }

  start(): void {
    this.lastAck_ms = performance.now();
    this.working = this.clients.map((client, i) => this.write(client, i));
  }

  private async write(client: Redis, writer: number): Promise<void> {
    const own = Array.from({ length: this.load.keys }, (_, i) => i).filter((i) => i % this.load.clients === writer).map((i) => `key-${i}`);
    const pause_ms = (1_000 * this.load.clients) / this.load.requests_per_s;
    for (let turn = 0; !this.stopping; turn++) {
      const key = own[turn % own.length];
      if (key === undefined) return;
      const number = (this.issued.get(key) ?? 0) + 1;
      this.issued.set(key, number);
      const began_ms = performance.now();
      await client.set(key, this.value(number));
      const now_ms = performance.now();
      this.acknowledged.set(key, number);
      this.acked++;
      this.latencies.add(now_ms - began_ms);
      this.longestSilence_ms = Math.max(this.longestSilence_ms, now_ms - this.lastAck_ms);
      this.lastAck_ms = now_ms;
      await sleep(Math.max(0, pause_ms - (now_ms - began_ms)));
    }
  }

  private value(number: number): string {
    const room = Math.max(0, this.load.value_bytes - 16), random = Math.floor((room * this.load.entropy) / 100);
    return `${number}:${randomBytes(Math.ceil(random / 2)).toString('hex')}`.padEnd(this.load.value_bytes, '.');
  }

  status(): WriterStatus {
    const silence_ms = Math.max(this.longestSilence_ms, performance.now() - this.lastAck_ms);
    return { acked: this.acked, failed: this.failed, reconnects: this.reconnects, latency_ms: this.latencies.summary(), longest_silence_ms: silence_ms };
  }

  /**
   * Asks for all keys at once over a new connection: what was acknowledged must be there. May run while writes go on. A Redis that does not
   * answer has lost everything.
   */
  async check(timeout_ms = CHECK_MS): Promise<WriterCheck> {
    const reader = this.client();
    const complaints: string[] = [];
    let lost = 0, unknown = 0;
    try {
      const atLeast = [...this.acknowledged];
      const found = await Promise.race([atLeast.length === 0 ? [] : reader.mget(atLeast.map(([key]) => key)), sleep(timeout_ms, null, { ref: false })]);
      if (found === null) return { keys: atLeast.length, acked: this.acked, lost: atLeast.length, unknown, complaints: [`no answer within ${timeout_ms} ms`] };
      for (const [i, [key, number]] of atLeast.entries()) {
        const value = Number(found[i]?.split(':')[0] ?? 0);
        if (value < number) { lost++; complaints.push(`${key}: acknowledged ${number}, found ${value}`); }
        if (value > (this.issued.get(key) ?? 0)) { unknown++; complaints.push(`${key}: found ${value}, which was never sent`); }
      }
      return { keys: atLeast.length, acked: this.acked, lost, unknown, complaints: complaints.slice(0, COMPLAINTS) };
    } finally {
      reader.disconnect();
    }
  }

  async stop(grace_ms = 2_000): Promise<void> {
    this.stopping = true;
    await Promise.race([Promise.all(this.working), sleep(grace_ms)]);
    for (const client of this.clients) client.disconnect();
    // Writes still in doubt are rejected by the disconnect, as meant.
    await Promise.allSettled(this.working);
  }
}
