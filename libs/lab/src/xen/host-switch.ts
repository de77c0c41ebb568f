import { spawn, type ChildProcess } from 'node:child_process';
import { closeSync, existsSync, openSync } from 'node:fs';
import { join } from 'node:path';
import type { FabricSettings, FabricWiring } from '@virtcft/fabric';
import type { FabricStats } from '@virtcft/native';
import type { Lab } from '../lab.js';
import { LabUnavailable } from '../namespaces.js';
import type { Cable } from './emulator.js';

/** From dist also when the caller runs from source: the process has several files. */
const MAIN = join(import.meta.dirname, '..', '..', 'dist', 'xen', 'switch-main.js');

export interface SwitchSettings { readonly open: Omit<FabricSettings, 'secret'>; readonly secretFile: string; readonly wiring: FabricWiring }
/** `cut`: the colour changes while nothing is captured. `commit`: output up to that epoch leaves. */
export type SwitchOrder = { readonly ask: 'stats' } | { readonly ask: 'pass'; readonly pass: boolean } | { readonly ask: 'cut' | 'commit'; readonly epoch: number } | ({ readonly ask: 'port' } & Cable);
export type SwitchQuestion = SwitchOrder & { readonly id: number };
export type SwitchAnswer = { readonly id: number; readonly value: unknown } | { readonly id: number; readonly failed: string };

/** The coloured switch of one host, in the host. For what has no agent there; an agent has its own. */
export class HostSwitch {
  private next = 1;
  private readonly waiting = new Map<number, { resolve: (value: unknown) => void; reject: (error: Error) => void }>();

  private constructor(host: string, private readonly entered: ChildProcess) {
    entered.on('message', (answer: SwitchAnswer) => {
      const asked = this.waiting.get(answer.id);
      this.waiting.delete(answer.id);
      if ('failed' in answer) asked?.reject(new Error(answer.failed));
      else asked?.resolve(answer.value);
    });
    entered.once('close', () => {
      for (const { reject } of this.waiting.values()) reject(new Error(`the switch of ${host} has ended: see switch-${host}.log`));
      this.waiting.clear();
    });
  }

  /** Ready when it is wired. */
  static async start(lab: Lab, host: string, settings: SwitchSettings): Promise<HostSwitch> {
    if (!existsSync(MAIN)) throw new LabUnavailable(`${MAIN} is not built: npm run build`);
    const [first = '', ...words] = [...lab.host(host).machine.enter(), process.execPath, MAIN, JSON.stringify(settings)];
    const log = openSync(join(lab.dir, `switch-${host}.log`), 'a');
    try {
      const started = new HostSwitch(host, spawn(first, words, { env: process.env, stdio: ['ignore', log, log, 'ipc'] }));
      await new Promise<unknown>((resolve, reject) => { started.waiting.set(0, { resolve, reject }); });
      return started;
    } finally {
      closeSync(log);
    }
  }

  async ask(order: SwitchOrder): Promise<unknown> {
    const id = this.next++;
    return new Promise((resolve, reject) => {
      this.waiting.set(id, { resolve, reject });
      this.entered.send({ ...order, id }, (error) => { if (error) reject(error); });
    });
  }

  async addPort(cable: Cable): Promise<void> { await this.ask({ ask: 'port', ...cable }); }
  async setPassThrough(pass: boolean): Promise<void> { await this.ask({ ask: 'pass', pass }); }
  async cut(epoch: number): Promise<void> { await this.ask({ ask: 'cut', epoch }); }
  async commit(epoch: number): Promise<{ frames: number; bytes: number }> { return await this.ask({ ask: 'commit', epoch }) as { frames: number; bytes: number }; }
  async stats(): Promise<FabricStats> { return await this.ask({ ask: 'stats' }) as FabricStats; }
}
