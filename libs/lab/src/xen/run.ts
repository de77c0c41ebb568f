import { setTimeout as wait } from 'node:timers/promises';
import { join } from 'node:path';
import { openDisplay, verdictLines, type Display } from '../demo/display.js';
import { GuestVoice } from '../demo/guest-voice.js';
import { Timeline } from '../demo/timeline.js';
import { GuestSilent } from '../guest-control.js';
import { readLoad } from '../guests.js';
import { Lab } from '../lab.js';
import { describeMachine, idleCpu, measuredCommit } from '../report/machine.js';
import type { XenLabReport } from '../report/xen-lab-report.js';
import { OUTSIDE } from '../site.js';
import { RackJudges } from './judges.js';
import { GUEST_PATIENCE_MS, PROGRESS_MS } from './limits.js';
import type { XenLabOptions } from './options.js';
import { XenRack, type RackVm } from './rack.js';

export const root = join(import.meta.dirname, '..', '..', '..', '..');
const HOSTS = ['xen-a', 'xen-b'] as const;
const MEMORY_MIB = 96; // what the guests need; two of them and dom0 fit on a host

/** It was told to stop. */
export class Interrupted extends Error {}

function rackVms(): RackVm[] {
  const vm = (name: string, number: number, host: string): RackVm => ({ name, role: 'bank', host, address: `${OUTSIDE.prefix}${10 + number}`, mac: `52:54:00:88:00:${(10 + number).toString(16).padStart(2, '0')}`, memory_mib: MEMORY_MIB });
  return [vm('bank-1', 1, HOSTS[0]), vm('bank-2', 2, HOSTS[1]), vm('bank-3', 3, HOSTS[1])];
}

/** From nothing to a judged report. Everything it started has ended when it returns, also when it is interrupted. */
export async function runXenLab(options: XenLabOptions, signal: AbortSignal, display: Display = openDisplay(options.json)): Promise<XenLabReport> {
  const [load, vms, timeline, idle_cpu, commit] = [readLoad('xen'), rackVms(), new Timeline((line) => { display.line(line); }), await idleCpu(), await measuredCommit(root)];
  const began_ms = performance.now();
  const since = (): number => Math.round(performance.now() - began_ms);
  const interrupted = new Promise<never>((_, reject) => { signal.addEventListener('abort', () => { reject(new Interrupted('interrupted')); }, { once: true }); });
  interrupted.catch(() => undefined);
  const seen: { hosts_up_ms: number | null; guests_up_ms: number | null; version: string; judges: RackJudges | null; broken_off: string | null } = { hosts_up_ms: null, guests_up_ms: null, version: 'unknown', judges: null, broken_off: null };
  const story = async (lab: Lab): Promise<void> => {
    timeline.note(`${HOSTS.join(' and ')}: real Xen hosts boot under emulation`);
    const rack = await telling(display, 'the hosts boot', XenRack.build(lab, { hosts: HOSTS, vms, load: load.guest }, (text) => { timeline.note(text); }));
    seen.hosts_up_ms = since();
    seen.version = /^xen_version +: (\S+)/m.exec(await rack.host(HOSTS[0]).xen.output(['xl', 'info']))?.[1] ?? 'unknown';
    timeline.note(`Xen ${seen.version}; ${vms.length} PVH guests are made`);
    // On each host one after the other: they share one emulated processor.
    await telling(display, 'the guests boot', Promise.all(HOSTS.map(async (host) => {
      for (const vm of vms.filter((each) => each.host === host)) await (await rack.start(vm)).says('virtcft guest: ready', GUEST_PATIENCE_MS);
    })));
    await rack.setPassThrough(true);
    const voice = new GuestVoice(lab.site, vms);
    await telling(display, 'the guests find each other', joined(voice));
    seen.guests_up_ms = since();
    timeline.note('all guests work, over the switches of their hosts; the gates are open, since nothing protects them');
    const judges = new RackJudges(rack, voice, vms.length);
    seen.judges = judges;
    await judges.work(options.seconds, 'at work');
    timeline.note('the gates close: output waits for commits');
    await telling(display, 'what is held is looked at', judges.gates());
    timeline.note(`${HOSTS[0]} loses its power: its emulator is killed with all that is in it`);
    await rack.kill(HOSTS[0]);
    await judges.survivors(HOSTS[0]);
  };
  const lab = await Lab.open();
  try {
    await Promise.race([interrupted, story(lab)]).catch((error: unknown) => {
      if (error instanceof Interrupted) throw error;
      seen.broken_off = error instanceof Error ? error.message : String(error);
      timeline.note(`broken off: ${seen.broken_off}`);
    });
  } finally {
    await lab.close();
  }
  const judged = seen.judges?.list ?? [];
  const ok = seen.broken_off === null && judged.length > 0 && judged.every(({ holds }) => holds);
  const invariants = judged.map((oracle) => oracle.verdict());
  if (invariants.length > 0) for (const line of ['', 'Verdict', ...verdictLines(invariants)]) display.line(line);
  display.line(ok ? '\nEverything was checked often enough and held. Nothing protected these guests: those of the destroyed host are lost.' : `\nRED${seen.broken_off === null ? '' : `: ${seen.broken_off}`}`);
  return {
    schema: 'virtcft/report/xen-lab/1', commit, load, ok, machine: await describeMachine({ accel: 'tcg', tracker: 'none', version: `Xen ${seen.version}` }, idle_cpu), params: { seconds: options.seconds },
    hosts: [...HOSTS], vms: vms.map(({ name, memory_mib, role, host }) => ({ name, memory_mib, role, host })), protected: false,
    hosts_up_ms: seen.hosts_up_ms, guests_up_ms: seen.guests_up_ms, invariants, timeline: [...timeline.lines], broken_off: seen.broken_off,
  };
}

/** Until every bank has all its connections. */
async function joined(voice: GuestVoice): Promise<void> {
  for (const until_ms = performance.now() + GUEST_PATIENCE_MS; ; await wait(500)) {
    try {
      if ((await voice.banks()).every(({ connected, peers }) => peers > 0 && connected === peers)) return;
    } catch (error) {
      if (!(error instanceof GuestSilent)) throw error;
    }
    if (performance.now() > until_ms) throw new Error(`the guests do not find each other within ${GUEST_PATIENCE_MS / 1_000} s`);
  }
}

/** Says now and then that something long goes on. */
async function telling<T>(display: Display, what: string, work: Promise<T>): Promise<T> {
  const from_ms = performance.now();
  const timer = setInterval(() => { display.live(`           ${what}, ${((performance.now() - from_ms) / 1_000).toFixed(0)} s so far`); }, PROGRESS_MS);
  try {
    return await work;
  } finally {
    clearInterval(timer);
  }
}
