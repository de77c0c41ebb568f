import { rm } from 'node:fs/promises';
import { root } from '../demo/run.js';
import type { Display } from '../demo/display.js';
import { labFolder, sweepLabFolders } from '../folders.js';
import { readLoad } from '../guests.js';
import type { FabricReport } from '../report/bench-reports.js';
import { distribution, ratio } from '../report/distribution.js';
import { describeMachine, idleCpu, measuredCommit } from '../report/machine.js';
import type { Streamed } from './fabric-ends.js';
import { FabricLines, ways, type Way } from './fabric-lines.js';
import type { BenchOptions } from './options.js';

const MTU = 1_500;
const ROUNDS = 7;
const PINGS = 500;

const each = <T>(value: (way: Way) => T): Record<Way, T> => ({ ours: value('ours'), js_switch: value('js_switch'), bridge: value('bridge') });

/** One TCP stream between two machines, by our switch, by a loop in JavaScript and by a Linux bridge in turns: what drifts hits all alike. */
export async function benchFabric(options: BenchOptions, signal: AbortSignal, display: Display): Promise<FabricReport> {
  const [idle_cpu, commit] = [await idleCpu(), await measuredCommit(root)];
  await sweepLabFolders();
  const dir = labFolder();
  const lines = await FabricLines.lay(dir, MTU);
  const close = (): void => { void lines.close(); };
  signal.addEventListener('abort', close, { once: true });
  try {
    const rounds: Record<Way, number[]> = each(() => []);
    const pings: Record<Way, number[]> = each(() => []);
    const offloads = [...new Set((await Promise.all(ways.map((way) => lines.offloads(way)))).flat())];
    for (let round = 0; round < ROUNDS; round += 1) {
      for (const way of ways) {
        const { bytes, ms } = await lines.ask(way, 'stream') as Streamed;
        rounds[way].push(Math.round(bytes * 8 / ms / 1000) / 1000);
      }
      display.line(`round ${round + 1} of ${ROUNDS}: ${ways.map((way) => `${way} ${rounds[way].at(-1) ?? 0} Gbit/s`).join(', ')}`);
    }
    for (const way of ways) pings[way] = await lines.ask(way, 'ping', String(PINGS)) as number[];
    const gbit_s = each((way) => distribution(rounds[way]).p50 ?? 0);
    return {
      schema: 'virtcft/report/fabric/1', commit, load: readLoad(options.load), ok: ways.every((way) => gbit_s[way] > 0) && offloads.length === 0,
      machine: await describeMachine({ accel: 'none', tracker: 'none', version: 'none' }, idle_cpu), params: { rounds: ROUNDS, pings: PINGS },
      gbit_s, rounds_gbit_s: rounds, ratio_to_js_switch: ratio(gbit_s.ours, gbit_s.js_switch), ratio_to_linux_bridge: ratio(gbit_s.ours, gbit_s.bridge),
      latency_us: each((way) => distribution(pings[way])), mtu: MTU, offloads,
    };
  } finally {
    signal.removeEventListener('abort', close);
    await lines.close();
    await rm(dir, { recursive: true, force: true });
  }
}
