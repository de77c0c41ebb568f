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
    const run = this.#run ?? this.qmp.begin(this.command);
    this.#run = null;
    return run();
  }
}

/** What is ordered inside a pause, by the name of its connection. */
export const CAPTURE_COMMANDS = { stop: 'stop', save: 'xen-save-devices-state', cont: 'cont' } as const;
export type CaptureCommands = Readonly<Record<keyof typeof CAPTURE_COMMANDS, CommandAtHand>>;
