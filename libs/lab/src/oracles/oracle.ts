import type { Invariant } from '../report/demo-report.js';

const DETAIL_LIMIT = 20; // enough to see the pattern; the count says the rest

/** One property that must hold: how often it was looked at, and how often it did not. */
export class Oracle {
  #checks = 0;
  #violations = 0;
  readonly #detail: string[] = [];

  constructor(readonly name: string, readonly statement: string, readonly checks_min: number) {}

  /** One check. `otherwise` says what was seen instead. */
  check(holds: boolean, otherwise: () => string): boolean {
    this.#checks += 1;
    if (!holds) this.violate(otherwise());
    return holds;
  }

  /** Many checks made elsewhere, with what failed of them. */
  count(checks: number, violations: number, otherwise: () => string): void {
    this.#checks += checks;
    if (violations === 0) return;
    this.#violations += violations;
    if (this.#detail.length < DETAIL_LIMIT) this.#detail.push(otherwise());
  }

  violate(detail: string): void {
    this.#violations += 1;
    if (this.#detail.length < DETAIL_LIMIT) this.#detail.push(detail);
  }

  get checks(): number { return this.#checks; }
  get violations(): number { return this.#violations; }
  get holds(): boolean { return this.#violations === 0 && this.#checks >= this.checks_min; }

  verdict(): Invariant {
    return { name: this.name, statement: this.statement, checks: this.#checks, checks_min: this.checks_min, violations: this.#violations, detail: [...this.#detail] };
  }
}
