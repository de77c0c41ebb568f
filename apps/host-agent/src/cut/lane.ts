/** Runs tasks one after the other, in the order given. A task that fails does not stop the next. */
export class Lane {
  private tail: Promise<unknown> = Promise.resolve();

  run<T>(task: () => Promise<T>): Promise<T> {
    const result = this.tail.then(task, task);
    this.tail = result.then(() => undefined, () => undefined);
    return result;
  }

  /** Resolves when everything given so far is done. */
  idle(): Promise<void> { return this.tail.then(() => undefined); }
}
