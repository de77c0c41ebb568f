interface Due { readonly at_ms: number; readonly order: number; readonly run: () => void }

/** Virtual time: a heap of what is due. Nothing happens between two events, so a run takes as long as its work. */
export class Clock {
  now_ms = 0;
  events = 0;
  readonly #heap: Due[] = [];
  #order = 0;

  at(delay_ms: number, run: () => void): void {
    const due: Due = { at_ms: this.now_ms + Math.max(0, delay_ms), order: this.#order++, run };
    const heap = this.#heap;
    let at = heap.push(due) - 1;
    for (let up = (at - 1) >> 1, parent = heap[up]; at > 0 && parent !== undefined && before(due, parent); up = (at - 1) >> 1, parent = heap[up]) {
      heap[at] = parent;
      at = up;
    }
    heap[at] = due;
  }

  sleep(delay_ms: number): Promise<void> { return new Promise((resolve) => this.at(delay_ms, resolve)); }

  /** Runs what is due until `until_ms`. Continuations of promises run between two events, at the same time. */
  async run(until_ms: number): Promise<void> {
    for (let due = this.#heap[0]; due !== undefined && due.at_ms <= until_ms; due = this.#heap[0]) {
      this.#pop();
      this.now_ms = due.at_ms;
      this.events++;
      due.run();
      // Deep enough for every chain of awaits in the models; what is left runs with the next event, still in a fixed order.
      for (let turn = 0; turn < 8; turn++) await null;
    }
    this.now_ms = until_ms;
  }

  #pop(): void {
    const heap = this.#heap;
    const last = heap.pop();
    if (last === undefined || heap.length === 0) return;
    let at = 0;
    for (;;) {
      const [left, right] = [heap[2 * at + 1], heap[2 * at + 2]];
      if (left === undefined) break;
      const least = right !== undefined && before(right, left) ? right : left;
      if (!before(least, last)) break;
      heap[at] = least;
      at = least === left ? 2 * at + 1 : 2 * at + 2;
    }
    heap[at] = last;
  }
}

const before = (a: Due, b: Due): boolean => a.at_ms < b.at_ms || (a.at_ms === b.at_ms && a.order < b.order);
