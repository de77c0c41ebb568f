import type { CutRef } from '@virtcft/events';
import type { ObjectStore } from '@virtcft/object-store';
import { all, type Fact } from '../demo/facts.js';
import { AckedWrites } from './acked-writes.js';
import { BankOracles } from './bank.js';
import { BlockPattern } from './block-pattern.js';
import { checkFilesystems, type GuestDisk } from './filesystem.js';
import { auditOneVoice, auditPages, auditProtectedAgain, auditReleases } from './log-audit.js';
import { MemoryPattern } from './memory-pattern.js';
import { Messages } from './messages.js';
import { Oracle } from './oracle.js';
import { Remembered } from './remembered.js';
import { checkCut, checkPacks, readOnce } from './stored-cuts.js';
import { WokenHost } from './woken-host.js';

const SAMPLED_CUTS = 2; // verified besides the bases and the last one; each folds its whole lineage

/** Every invariant by its name. `kills` sets how often each must be looked at before it counts as held; those of disks count where there are some. */
export class Oracles {
  readonly bank: BankOracles;
  readonly writes: AckedWrites;
  readonly memory: MemoryPattern;
  readonly messages: Messages;
  readonly remembered: Remembered;
  readonly blocks: BlockPattern;
  readonly filesystem: Oracle;
  readonly woken: WokenHost;
  readonly released: Oracle;
  readonly voice: Oracle;
  readonly whole: Oracle;
  readonly pages: Oracle;
  readonly protection: Oracle;

  /** `filesystems`: disks that hold one. `freezes`: how many of the failures are hosts that wake again. */
  constructor(kills: number, private readonly filesystems: readonly GuestDisk[] = [], private readonly freezes = 0) {
    const rounds = kills + 1;
    this.bank = new BankOracles(kills);
    this.writes = new AckedWrites(kills);
    this.memory = new MemoryPattern(kills);
    this.messages = new Messages(kills);
    this.remembered = new Remembered(kills);
    this.blocks = new BlockPattern(kills);
    this.woken = new WokenHost(freezes);
    this.filesystem = new Oracle('filesystem', 'the file system on every restored cut\'s disk is sound once its journal is replayed', rounds);
    this.released = new Oracle('I2', 'output commit: nothing leaves before a cut that covers it is committed', 20 * rounds);
    this.voice = new Oracle('I3', 'one voice: nothing of an older generation counts after a raise', 20 * rounds);
    this.whole = new Oracle('I4', 'nothing torn: cuts can be restored from the object store alone', rounds);
    this.pages = new Oracle('I5', 'no lost page: guests are what was captured of them', 5 * rounds);
    this.protection = new Oracle('I6', 'protection never ends silently: a new cut after each recovery, an alarm while there is no spare', rounds);
  }

  /** What the whole log says, at the end. */
  auditLog(facts: readonly Fact[]): void {
    auditReleases(facts, this.released);
    auditOneVoice(facts, this.voice);
    auditPages(facts, this.pages);
    auditProtectedAgain(facts, this.protection);
  }

  /** What the store says, at the end: every basis that was restored, the last cut, and some between. */
  async auditStore(store: ObjectStore, facts: readonly Fact[]): Promise<void> {
    const committed = all(facts, 'epoch.committed').map(({ data }) => data.cut);
    const bases = all(facts, 'generation.raised').map(({ data }) => data.basis);
    const sampled = Array.from({ length: SAMPLED_CUTS }, (_, i) => committed[Math.floor(committed.length * (i + 0.5) / SAMPLED_CUTS)]);
    const cuts = new Map([...bases, ...sampled, committed.at(-1)].flatMap((cut): [string, CutRef][] => cut === undefined ? [] : [[cut.key, cut]]));
    const source = readOnce(store);
    for (const cut of cuts.values()) {
      await checkCut(source, cut, this.whole, (fold) => checkFilesystems(fold, cut, this.filesystems, this.filesystem));
      await checkPacks(source, cut, this.voice);
    }
  }

  get list(): readonly Oracle[] {
    const [consistent, ...bank] = this.bank.oracles;
    const disks = this.filesystems.length === 0 ? [] : [this.remembered.transactions, this.blocks.oracle, this.filesystem];
    return [
      ...(consistent === undefined ? [] : [consistent]), this.released, this.voice, this.whole, this.pages, this.protection, ...bank, this.messages.oracle,
      this.writes.oracle, this.remembered.history, this.memory.oracle, ...disks, ...(this.freezes === 0 ? [] : [this.woken]),
    ];
  }
}
