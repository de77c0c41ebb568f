import { setTimeout as wait } from 'node:timers/promises';
import type { GuestVoice } from '../demo/guest-voice.js';
import { FrameWatch } from '../frame-watch.js';
import { askGuest, BankStatus, GuestSilent } from '../guest-control.js';
import { GUEST_PORTS } from '../guests.js';
import { BankOracles } from '../oracles/bank.js';
import { MemoryPattern } from '../oracles/memory-pattern.js';
import { Messages } from '../oracles/messages.js';
import { Oracle } from '../oracles/oracle.js';
import { SILENCE_MS, COMMITTED_PATIENCE_MS, CUT_EVERY_MS } from './limits.js';
import type { RackVm, XenRack } from './rack.js';

/** What must hold of guests on Xen hosts. The demo's oracles where they fit, and what is the rack's own. */
export class RackJudges {
  readonly bank = new BankOracles(0);
  readonly messages = new Messages(0);
  readonly memory = new MemoryPattern(0);
  readonly output: Oracle;
  readonly apart: Oracle;

  constructor(private readonly rack: XenRack, private readonly voice: GuestVoice, guests: number) {
    this.output = new Oracle('I2', 'output commit: what a guest says to the outside is held at its host\'s edge until a cut that covers it is committed', 3 * guests);
    this.apart = new Oracle('power-cut', 'a host that loses its power is gone with all its guests at once, and the others live on', guests);
  }

  get list(): readonly Oracle[] { return [...this.bank.oracles, this.messages.oracle, this.memory.oracle, this.output, this.apart]; }

  /** Two looks at all guests, while they work between. */
  async work(seconds: number, when: string): Promise<void> {
    try {
      const [banks, patterns, vectors] = [await this.voice.banks(), await this.voice.patterns(), await this.voice.vectors()];
      await wait(seconds * 1_000);
      this.messages.reading(vectors, await this.voice.vectors(), when);
      this.bank.reading(banks, await this.voice.banks(), when);
      for (const [vm, after] of await this.voice.patterns()) {
        const before = patterns.get(vm);
        if (before !== undefined) this.memory.reading(vm, before, after, when);
      }
      this.bank.audit(await this.voice.audit(), when);
    } catch (error) {
      if (!(error instanceof GuestSilent)) throw error;
      this.bank.silent(error.message, when);
    }
  }

  /** The gates close, somebody asks every guest, and nothing is said until epochs are cut and committed. Cuts that nothing is captured for: the switch is what is judged. */
  async gates(): Promise<void> {
    await this.rack.setPassThrough(false);
    for (const [number, vm] of this.rack.vms.entries()) await this.gate(vm, 1 + number * 1_000);
    await this.rack.setPassThrough(true);
  }

  private async gate(vm: RackVm, first: number): Promise<void> {
    const watch = await FrameWatch.open(this.rack.lab, vm.host);
    try {
      const asked = this.ask(vm, COMMITTED_PATIENCE_MS);
      const seen = { answered: false };
      void asked.then(() => { seen.answered = true; }, () => { seen.answered = true; });
      await wait(SILENCE_MS);
      const said = watch.frames.filter(({ mac }) => mac === vm.mac).length;
      this.output.check(said === 0 && !seen.answered, () => `${vm.name} said ${said} frames to the outside though nothing was committed`);
      const { heldOutputFrames } = await this.rack.host(vm.host).wires.stats();
      this.output.check(heldOutputFrames > 0, () => `nothing of ${vm.name} is held at the edge of ${vm.host}: it was not asked, or its output is lost`);
      for (let epoch = first; !seen.answered; epoch += 1) {
        await this.rack.cut(epoch);
        await this.rack.commit(epoch);
        await wait(CUT_EVERY_MS);
      }
      const answer = await asked.catch((error: unknown) => error);
      this.output.check(!(answer instanceof Error), () => `${vm.name} gave no answer though cuts were committed: ${String(answer)}`);
    } finally {
      await watch.close();
    }
  }

  /** After a power cut of `host`. */
  async survivors(host: string): Promise<void> {
    for (const vm of this.rack.vms) {
      const lives = vm.host !== host;
      const answer = await this.ask(vm, lives ? COMMITTED_PATIENCE_MS : SILENCE_MS).catch((error: unknown) => { if (error instanceof GuestSilent) return null; throw error; });
      this.apart.check((answer !== null) === lives, () => (lives ? `${vm.name} on ${vm.host} gives no answer any more` : `${vm.name} answers though ${host} is gone`));
      if (answer !== null) this.apart.check(answer.errors === 0, () => `${vm.name} found ${answer.errors} errors after the power cut: ${answer.error}`);
    }
  }

  private ask(vm: RackVm, timeout_ms: number): Promise<BankStatus> {
    return askGuest(() => this.rack.lab.site.connect(vm.address, GUEST_PORTS.bankControl), 'status', BankStatus, timeout_ms);
  }
}
