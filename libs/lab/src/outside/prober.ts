import { connect, type Socket } from 'node:net';

/** Each try is given up after this long; another was begun long before. */
const TRY_MS = 2_000;

export interface ProbeReport {
  readonly tries: number;
  readonly answers: number;
  /** From the mark to the first answer to a request on a connection begun after it; null: none yet. */
  readonly first_answer_ms: number | null;
  /** Longest time between two answers since the mark, the running one included. */
  readonly longest_silence_ms: number;
}

/** Asks Redis PING on a new connection at a fixed rate, as a client that has just arrived would. */
export class Prober {
  private timer: NodeJS.Timeout | null = null;
  private readonly open = new Set<Socket>();
  private mark_ms = performance.now();
  private lastAnswer_ms = performance.now();
  private report: ProbeReport = { tries: 0, answers: 0, first_answer_ms: null, longest_silence_ms: 0 };

  constructor(private readonly target: { host: string; port: number }, private readonly interval_ms = 20) {}

  start(): void {
    this.mark();
    this.timer ??= setInterval(() => { this.probe(); }, this.interval_ms);
  }

  /** Now is the moment of the failure: figures count from here. `ago_ms`: it was so long ago. */
  mark(ago_ms = 0): void {
    this.mark_ms = this.lastAnswer_ms = performance.now() - ago_ms;
    this.report = { tries: 0, answers: 0, first_answer_ms: null, longest_silence_ms: 0 };
  }

  private probe(): void {
    const began_ms = performance.now();
    const socket = connect({ ...this.target, noDelay: true });
    this.open.add(socket);
    this.report = { ...this.report, tries: this.report.tries + 1 };
    const timer = setTimeout(() => { socket.destroy(); }, TRY_MS);
    socket.once('connect', () => { socket.write('PING\r\n'); });
    socket.once('data', (data: Buffer) => {
      if (data.toString().startsWith('+PONG')) this.answered(began_ms);
      socket.destroy();
    });
    // No answer is what is measured here; a try that fails is simply not an answer.
    socket.once('error', () => { socket.destroy(); });
    socket.once('close', () => { clearTimeout(timer); this.open.delete(socket); });
  }

  private answered(began_ms: number): void {
    if (began_ms < this.mark_ms) return;
    const now_ms = performance.now();
    const { tries, answers, first_answer_ms, longest_silence_ms } = this.report;
    this.report = { tries, answers: answers + 1, first_answer_ms: first_answer_ms ?? now_ms - this.mark_ms, longest_silence_ms: Math.max(longest_silence_ms, now_ms - this.lastAnswer_ms) };
    this.lastAnswer_ms = now_ms;
  }

  status(): ProbeReport {
    return { ...this.report, longest_silence_ms: Math.max(this.report.longest_silence_ms, performance.now() - this.lastAnswer_ms) };
  }

  stop(): void {
    if (this.timer !== null) clearInterval(this.timer);
    this.timer = null;
    for (const socket of this.open) socket.destroy();
  }
}
