import { setTimeout as wait } from 'node:timers/promises';
import type { z } from 'zod';
import { auditBanks, type AuditResult } from '../bank-audit.js';
import { askGuest, BankStatus, BlocksStatus, GapReport, GuestSilent, PatternStatus, VectorStatus } from '../guest-control.js';
import { GUEST_PORTS } from '../guests.js';
import type { Site } from '../site.js';
import type { DemoVm } from './cluster-file.js';

const ANSWER_MS = 4_000; // two epochs are enough for an answer; a lost SYN is sent again after one second, and after three
const TRIES = 4;

/** All guests of the cluster, asked from outside over the network that the edges gate. */
export class GuestVoice {
  constructor(private readonly site: Site, readonly vms: readonly DemoVm[]) {}

  /** Throws GuestSilent when a guest gives no answer to several tries. */
  async banks(): Promise<BankStatus[]> { return Promise.all(this.vms.map((vm) => this.#bank(vm.address, 'status'))); }

  async audit(): Promise<AuditResult> {
    return auditBanks(this.vms.map(({ address }) => address), (address, command) => this.#bank(address, command), { timeout_ms: 20_000 });
  }

  async patterns(): Promise<ReadonlyMap<string, PatternStatus>> {
    return new Map(await Promise.all(this.vms.map(async (vm): Promise<[string, PatternStatus]> => [vm.name, await this.#ask(vm.address, GUEST_PORTS.patternControl, 'status', PatternStatus)])));
  }

  async vectors(): Promise<VectorStatus[]> { return Promise.all(this.vms.map((vm) => this.#ask(vm.address, GUEST_PORTS.vectorControl, 'status', VectorStatus))); }

  /** Of the guest with a raw disk; null: there is none. */
  async blocks(): Promise<BlocksStatus | null> {
    const vm = this.vms.find(({ role }) => role === 'database');
    return vm === undefined ? null : this.#ask(vm.address, GUEST_PORTS.blocksControl, 'status', BlocksStatus);
  }

  /** The longest gap each guest saw since it was asked last. */
  async gaps(): Promise<GapReport[]> { return Promise.all(this.vms.map((vm) => this.#ask(vm.address, GUEST_PORTS.patternControl, 'gap', GapReport))); }

  #bank(address: string, command: string): Promise<BankStatus> { return this.#ask(address, GUEST_PORTS.bankControl, command, BankStatus); }

  async #ask<T>(address: string, port: number, command: string, schema: z.ZodType<T>): Promise<T> {
    for (let attempt = 1; ; attempt += 1) {
      try {
        return await askGuest(() => this.site.connect(address, port), command, schema, ANSWER_MS);
      } catch (error) {
        if (!(error instanceof GuestSilent) || attempt === TRIES) throw error instanceof GuestSilent ? new GuestSilent(`${address}:${port}: ${error.message}`) : error;
        await wait(100);
      }
    }
  }
}
