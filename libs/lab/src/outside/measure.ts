/** Latencies in ms of what happened, kept whole up to a bound, then thinned by half. */
export class Latencies {
  private static readonly KEPT = 100_000;
  private values: number[] = [];
  private every = 1;
  private seen = 0;

  add(value_ms: number): void {
    if (this.seen++ % this.every !== 0) return;
    this.values.push(value_ms);
    if (this.values.length < Latencies.KEPT) return;
    this.values = this.values.filter((_, i) => i % 2 === 0);
    this.every *= 2;
  }

  summary(): { n: number; p50: number; p99: number; max: number } {
    const sorted = [...this.values].sort((a, b) => a - b);
    const at = (share: number): number => sorted[Math.min(sorted.length - 1, Math.floor(sorted.length * share))] ?? 0;
    return { n: this.seen, p50: at(0.5), p99: at(0.99), max: sorted.at(-1) ?? 0 };
  }
}
