/** What happened when, in milliseconds from the start of the story; each line is also shown at once. */
export class Timeline {
  readonly #lines: { at_ms: number; text: string }[] = [];
  readonly #start_ms = Date.now();

  constructor(private readonly show: (line: string) => void) {}

  /** `at_ms`: when it happened, milliseconds since 1970, where that is known better than now. */
  note(text: string, at_ms = Date.now()): void {
    const at = Math.max(0, at_ms - this.#start_ms);
    this.#lines.push({ at_ms: Math.round(at), text });
    this.show(`${stamp(at)}  ${text}`);
  }

  get lines(): readonly { at_ms: number; text: string }[] { return this.#lines.toSorted((a, b) => a.at_ms - b.at_ms); }
}

/** Seconds with milliseconds, aligned. */
export function stamp(ms: number): string { return `${(ms / 1000).toFixed(3).padStart(9)} s`; }
