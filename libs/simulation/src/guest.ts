import { Journal } from './journal.js';
import type { Device } from './store.js';

export const pageCount = 8;

/** A guest: a few pages and what it exchanged. Its dirty pages are tracked per captured epoch, as the layers of an agent are (R1). */
export class Guest {
  readonly sent: Journal;
  readonly got: Journal;
  readonly said: Journal;
  #open = new Set<number>();
  /** What was copied before the first capture. */
  readonly #base = new Map<number, number>();
  readonly #untracked = new Set<number>();
  /** Pages written between two captures, oldest first. */
  #layers: { epoch: number; pages: Set<number>; memory: number[]; device: Device }[] = [];

  constructor(readonly name: string, readonly memory: number[] = new Array<number>(pageCount).fill(0), device?: Device) {
    this.sent = new Journal(device?.sent);
    this.got = new Journal(device?.got);
    this.said = new Journal(device?.said);
  }

  write(page: number, value: number): void {
    this.memory[page] = value;
    this.#open.add(page);
  }

  /** A base is made while it runs (R20): what was written of this page so far is in it; what is written later is in a capture, unless nobody `tracks` it. */
  seed(page: number, tracks: boolean): void {
    if (this.#open.has(page)) this.#base.set(page, this.memory[page] ?? 0);
    this.#open.delete(page);
    if (!tracks) this.#untracked.add(page);
  }

  capture(epoch: number): void {
    for (const page of this.#untracked) this.#open.delete(page);
    this.#untracked.clear();
    this.#layers.push({ epoch, pages: this.#open, memory: [...this.memory], device: { sent: this.sent.now(), got: this.got.now(), said: this.said.now() } });
    this.#open = new Set();
  }

  /** What is written since the capture of `parent`; everything when it is null. */
  encode(parent: number | null, epoch: number): { pages: Map<number, number>; memory: number[]; device: Device } {
    const layer = this.#layers.find((one) => one.epoch === epoch);
    if (layer === undefined) throw new Error(`no capture of ${epoch}`);
    const pages = new Map<number, number>();
    if (parent === null && this.#base.size === 0) layer.memory.forEach((value, page) => pages.set(page, value));
    else if (parent === null) for (const [page, value] of this.#base) pages.set(page, value);
    if (parent !== null || this.#base.size > 0) for (const { epoch: at, pages: dirty } of this.#layers) if (at > (parent ?? 0) && at <= epoch) for (const page of dirty) pages.set(page, layer.memory[page] ?? 0);
    return { pages, memory: layer.memory, device: layer.device };
  }

  /** Captures up to this one are in a stored segment. */
  forget(epoch: number): void { this.#layers = this.#layers.filter((layer) => layer.epoch > epoch); }

  /** What was written in that epoch is forgotten; the mutant of R1. */
  dropLayer(epoch: number): void { for (const layer of this.#layers) if (layer.epoch === epoch) layer.pages.clear(); }

  /** A restarted agent has lost what was tracked (R3). */
  loseTracking(): void {
    this.#open = new Set();
    for (const layer of this.#layers) layer.pages.clear();
  }
}
