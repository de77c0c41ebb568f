/** What an outside client remembers, compared with what is there. */
export interface RemembranceCheck { readonly checked: number; /** How much was not as it was acknowledged. */ readonly broken: number; /** What was wrong, first few. */ readonly complaints: readonly string[] }

const KEPT = 5;

/** Counts what was wrong and keeps the first few in words. */
export class Complaints {
  #count = 0;
  readonly #first: string[] = [];

  add(text: string): void {
    this.#count += 1;
    if (this.#first.length < KEPT) this.#first.push(text);
  }

  get count(): number { return this.#count; }
  get first(): readonly string[] { return [...this.#first]; }

  copy(): Complaints {
    const copy = new Complaints();
    copy.#count = this.#count;
    copy.#first.push(...this.#first);
    return copy;
  }
}
