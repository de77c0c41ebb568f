/** What a journal held at some moment. */
export interface Entries {
  readonly size: number;
  has(token: number): boolean;
  all(): number[];
}

/** A set that only grows; what it held at any moment is kept for nothing, so that captures are cheap. */
export class Journal implements Entries {
  readonly #places = new Map<number, number>();

  constructor(from?: Entries) { for (const token of from?.all() ?? []) this.add(token); }

  get size(): number { return this.#places.size; }
  has(token: number): boolean { return this.#places.has(token); }
  all(): number[] { return [...this.#places.keys()]; }

  add(token: number): void {
    if (!this.#places.has(token)) this.#places.set(token, this.#places.size);
  }

  now(): Entries {
    const [places, size] = [this.#places, this.#places.size];
    return { size, has: (token) => (places.get(token) ?? size) < size, all: () => [...places.keys()].slice(0, size) };
  }
}
