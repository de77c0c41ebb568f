import { spawn } from 'node:child_process';
import { existsSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { DrillMessage, type DrillPlan } from '@virtcft/events';
import { CliError, exit } from '../exit.js';

/** A line of it is a result with the tail of a check, at most. */
const LINE_BYTES = 1_048_576;
/** After this an unwilling drill is killed; its guests go with it. */
const GRACE_MS = 20_000;

export interface DrillEnd {
  /** The last of each kind that came. */
  readonly result: Extract<DrillMessage, { kind: 'result' }>['result'] | null;
  readonly refused: Extract<DrillMessage, { kind: 'refused' }> | null;
  readonly tornDown: readonly string[];
}

/** The drill program, beside this one in an installation. */
export const drillMain = fileURLToPath(new URL('../../../drill/dist/main.js', import.meta.url));

/** Runs the drill program until it ends: by itself, or told to by `signal`. Its plan goes to its standard input, whose end would end it too. Throws CliError. */
export async function runDrillProgram(main: string, plan: DrillPlan, env: Readonly<Record<string, string | undefined>>, signal: AbortSignal, hear: (message: DrillMessage) => void): Promise<DrillEnd> {
  if (!existsSync(main)) throw new CliError(exit.failed, `the drill program is not here: ${main}`, 'install VirtCFT with its drill program on this machine, or drill on a host that has it');
  const child = spawn(process.execPath, [main], { env: { ...env }, stdio: ['pipe', 'pipe', 'inherit'] });
  let killing: NodeJS.Timeout | undefined;
  const end = (): void => {
    child.kill('SIGTERM');
    killing ??= setTimeout(() => { child.kill('SIGKILL'); }, GRACE_MS);
  };
  signal.addEventListener('abort', end);
  child.stdin.on('error', () => undefined);
  child.stdin.write(`${JSON.stringify(plan)}\n`);
  const heard = new Heard(hear);
  child.stdout.setEncoding('utf8').on('data', (text: string) => { if (!heard.take(text)) end(); });
  try {
    if (signal.aborted) end();
    const code = await new Promise<number | null>((resolve, reject) => { child.once('error', reject).once('close', resolve); });
    if (heard.broken !== null) throw new CliError(exit.failed, `the drill program said what this virtcft does not know: ${heard.broken}`, 'use both of the same version');
    if (heard.end.result === null && heard.end.refused === null && !signal.aborted) {
      throw new CliError(code === 2 ? exit.usage : exit.failed, `the drill program ended with ${code ?? 'a signal'} and said nothing`, 'its own message is above; "node apps/drill/dist/main.js --help" lists what it takes from the environment');
    }
    return heard.end;
  } finally {
    clearTimeout(killing);
    signal.removeEventListener('abort', end);
  }
}

class Heard {
  end: DrillEnd = { result: null, refused: null, tornDown: [] };
  broken: string | null = null;
  private rest = '';

  constructor(private readonly hear: (message: DrillMessage) => void) {}

  /** False when it is not the protocol. */
  take(text: string): boolean {
    if (this.broken !== null) return false;
    this.rest += text;
    const lines = this.rest.split('\n');
    this.rest = lines.pop() ?? '';
    try {
      if (this.rest.length > LINE_BYTES) throw new Error('a line without an end');
      for (const line of lines) this.one(DrillMessage.parse(JSON.parse(line)));
      return true;
    } catch (error) {
      this.broken = error instanceof Error ? error.message : String(error);
      return false;
    }
  }

  private one(message: DrillMessage): void {
    if (message.kind === 'result') this.end = { ...this.end, result: message.result };
    else if (message.kind === 'refused') this.end = { ...this.end, refused: message };
    else if (message.kind === 'torn-down') this.end = { ...this.end, tornDown: message.what };
    this.hear(message);
  }
}
