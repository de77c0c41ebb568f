/** Something to read, and how many bytes it will hold, as far as that is known. */
export interface Load<T> {
  readonly bytes: number;
  load(): Promise<T> | T;
}

export interface AheadBounds {
  /** Under way or read, and not yet taken. */
  readonly reads: number;
  /** Of those, beside the first, which is read whatever it holds. */
  readonly bytes: number;
  /** At first, then one more with each that is taken: none, for who may soon have enough. As many as `reads` by default. */
  readonly begin?: number;
}

/** Reads in order ahead of who takes, within bounds. What fails does so for who takes it; what nobody takes fails in silence. */
export class ReadAhead<T> {
  readonly #loads: Iterator<Load<T>>;
  readonly #ahead: { readonly bytes: number; readonly loaded: Promise<T> }[] = [];
  #next: IteratorResult<Load<T>>;
  #reads: number;

  constructor(loads: Iterable<Load<T>>, readonly bounds: AheadBounds) {
    this.#loads = loads[Symbol.iterator]();
    this.#next = this.#loads.next();
    this.#reads = bounds.begin ?? bounds.reads;
    this.#fill(this.#reads);
  }

  /** The next one; undefined behind the last. */
  async take(): Promise<T | undefined> {
    if (this.#ahead.length === 0) this.#fill(1);
    const first = this.#ahead.shift();
    this.#fill(this.#reads);
    this.#reads = Math.min(this.bounds.reads, this.#reads + 1);
    return first?.loaded;
  }

  #fill(reads: number): void {
    let held_bytes = this.#ahead.reduce((sum, { bytes }) => sum + bytes, 0);
    while (this.#next.done !== true && this.#ahead.length < reads) {
      const { value } = this.#next;
      if (this.#ahead.length > 0 && held_bytes + value.bytes > this.bounds.bytes) return;
      held_bytes += value.bytes;
      const loaded = (async () => value.load())();
      loaded.catch(() => undefined);
      this.#ahead.push({ bytes: value.bytes, loaded });
      this.#next = this.#loads.next();
    }
  }
}
