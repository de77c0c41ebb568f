import type { QmpArguments, QmpClient } from './qmp-client.js';

/**
 * A command that QEMU has read but for its last byte, on a control connection of its own. QEMU takes these connections byte by byte, each with a turn of a loop (7 µs here;
 * `monitor_can_read` in its monitor/monitor.c): whole commands were a quarter of every pause.
 */
export class CommandAtHand {
  #run: (() => Promise<unknown>) | null = null;

  constructor(private readonly qmp: QmpClient, private readonly command: string) {}

  /** Sends all but the last byte; nothing, when it is at hand already. While the guest runs. */
  prepare(args?: QmpArguments): void {
    this.#run ??= this.qmp.begin(this.command, args);
  }

  /** Runs what was prepared, or else the command without arguments. Rejects as QmpClient.execute. */
  run(): Promise<unknown> {
    this.prepare();
    const run = this.#run;
    this.#run = null;
    return run === null ? Promise.reject(new Error(`${this.command} is not at hand`)) : run();
  }
}

/** What is ordered inside a pause. */
export interface CaptureCommands {
  readonly stop: CommandAtHand;
  readonly save: CommandAtHand;
  readonly cont: CommandAtHand;
}
