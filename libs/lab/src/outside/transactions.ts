import { randomBytes } from 'node:crypto';
import { setTimeout as sleep } from 'node:timers/promises';
import { z } from 'zod';
import { Line, NoAnswer, type Target } from './line.js';
import { Complaints, type RemembranceCheck } from './remembrance.js';

const ANSWER_MS = 10_000; // a recovery, and a retransmit after it
const CHECK_MS = 30_000;
const RETRY_MS = 100;

const Committed = z.object({ daemon: z.literal('database'), client: z.int(), number: z.int(), committed: z.boolean() });
const Rows = z.object({ daemon: z.literal('database'), client: z.int(), rows: z.array(z.tuple([z.int(), z.string()])) });
const Status = z.object({ daemon: z.literal('database'), transactions: z.int(), errors: z.int(), error: z.string(), sound: z.boolean() });

export interface TransactionLoad { readonly clients: number; readonly transactions_per_s: number }

/**
 * Outside clients of a guest's database. Each commits numbered transactions one after the other and remembers those that were acknowledged:
 * every one must be there later, with its value, and none that was never asked for. One in doubt is asked for again: it changes nothing twice.
 */
export class Transactions {
  private readonly values: string[][];
  private readonly acknowledged: number[];
  private readonly lines: Line[];
  private readonly refused = new Complaints();
  private stopping = false;
  private working: Promise<void>[] = [];

  constructor(private readonly target: Target, private readonly load: TransactionLoad) {
    this.values = Array.from({ length: load.clients }, () => []);
    this.acknowledged = this.values.map(() => 0);
    this.lines = this.values.map(() => new Line(target, ANSWER_MS));
  }

  get acked(): number { return this.acknowledged.reduce((sum, each) => sum + each, 0); }

  start(): void { this.working = this.lines.map((line, client) => this.commit(line, client)); }

  private async commit(line: Line, client: number): Promise<void> {
    const values = this.values[client] ?? [];
    const pause_ms = 1_000 * this.load.clients / this.load.transactions_per_s;
    while (!this.stopping) {
      const began_ms = performance.now();
      const number = (this.acknowledged[client] ?? 0) + 1;
      const value = values[number - 1] ??= randomBytes(12).toString('hex');
      try {
        const { committed } = await line.ask(`commit ${client} ${number} ${value}`, Committed);
        if (committed) this.acknowledged[client] = number;
        else this.refused.add(`client ${client}: transaction ${number} was refused`);
      } catch (error) {
        if (!(error instanceof NoAnswer)) throw error;
        await sleep(RETRY_MS);
      }
      await sleep(Math.max(0, pause_ms - (performance.now() - began_ms)));
    }
  }

  /** Reads everything over a new connection, and has the database check its file. May run while transactions are committed. */
  async check(): Promise<RemembranceCheck> {
    const complaints = this.refused.copy();
    const line = new Line(this.target, CHECK_MS);
    // What is acknowledged while we read is for the next check.
    const acknowledged = [...this.acknowledged];
    const checked = acknowledged.reduce((sum, each) => sum + each, 0);
    try {
      const status = await line.ask('check', Status);
      if (!status.sound) complaints.add('the tables of the database do not agree');
      if (status.errors > 0) complaints.add(`the database found ${status.errors} errors, first: ${status.error}`);
      for (const [client, last] of acknowledged.entries()) {
        const found = await this.read(line, client);
        const values = this.values[client] ?? [];
        for (let number = 1; number <= last; number += 1) {
          const value = found.get(number);
          if (value !== values[number - 1]) complaints.add(`client ${client}: transaction ${number} is ${value ?? 'not there'}, and ${values[number - 1] ?? ''} was acknowledged`);
        }
        for (const [number, value] of found) if (number > values.length || (number > last && value !== values[number - 1])) complaints.add(`client ${client}: transaction ${number} (${value}) was never asked for`);
      }
      return { checked, broken: complaints.count, complaints: complaints.first };
    } catch (error) {
      if (!(error instanceof NoAnswer)) throw error;
      return { checked, broken: Math.max(1, checked), complaints: [error.message] };
    } finally {
      line.close();
    }
  }

  private async read(line: Line, client: number): Promise<Map<number, string>> {
    const found = new Map<number, string>();
    for (let from = 1; ;) {
      const { rows } = await line.ask(`read ${client} ${from}`, Rows);
      for (const [number, value] of rows) found.set(number, value);
      const last = rows.at(-1)?.[0];
      if (last === undefined) return found;
      from = last + 1;
    }
  }

  async stop(): Promise<void> {
    this.stopping = true;
    for (const line of this.lines) line.close();
    await Promise.all(this.working);
  }
}
