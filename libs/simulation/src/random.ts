// Taken once: in a test's own context every look-up of a global is slow.
const { imul, floor } = Math;

/** A small seeded generator (mulberry32): one seed, one run. */
export class Random {
  #state: number;
  constructor(seed: number) { this.#state = seed >>> 0; }

  /** In [0, 1). */
  next(): number {
    this.#state = (this.#state + 0x6d2b79f5) >>> 0;
    let mixed = this.#state;
    mixed = imul(mixed ^ (mixed >>> 15), mixed | 1);
    mixed ^= mixed + imul(mixed ^ (mixed >>> 7), mixed | 61);
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 4_294_967_296;
  }

  between(low: number, high: number): number { return low + this.next() * (high - low); }
  below(count: number): number { return floor(this.next() * count); }
  chance(probability: number): boolean { return this.next() < probability; }

  pick<T>(items: readonly T[]): T {
    const item = items[this.below(items.length)];
    if (item === undefined) throw new Error('nothing to pick from');
    return item;
  }

  hex(length: number): string {
    let text = '';
    while (text.length < length) text += floor(this.next() * 0x1_0000_0000).toString(16).padStart(8, '0');
    return text.slice(0, length);
  }

  uuid(): string {
    const hex = this.hex(32);
    return `${hex.slice(0, 8)}-${hex.slice(8, 12)}-4${hex.slice(13, 16)}-8${hex.slice(17, 20)}-${hex.slice(20, 32)}`;
  }
}
