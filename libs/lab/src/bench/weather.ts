import { setTimeout as wait } from 'node:timers/promises';
import type { Display } from '../demo/display.js';
import { all } from '../demo/facts.js';
import { runDemo } from '../demo/run.js';
import type { World } from '../demo/world.js';
import type { WeatherReport } from '../report/bench-reports.js';
import { distribution, ratio } from '../report/distribution.js';
import { common, demoOptions } from './cluster-benches.js';
import type { BenchOptions } from './options.js';

/** What the bar names: between any two hosts' tunnels, and how late decisions come to one of them. */
const TUNNEL_DELAY_MS = 50;
const BARRIER_SKEW_MS = 200;
const SETTLE_MS = 2_000;

type Window = 'calm' | 'stormy';

/** Guests' pauses under slow tunnels and late decisions, and without, in turns in one run: every host cuts on its own, so nobody's pause may know of it. */
export async function benchWeather(options: BenchOptions, signal: AbortSignal, display: Display): Promise<WeatherReport> {
  const pauses: Record<Window, number[]> = { calm: [], stormy: [] };
  const measure = async (world: World): Promise<void> => {
    for (const window of ['stormy', 'calm', 'stormy', 'calm'] as const) pauses[window].push(...await pausesIn(world, window, options.seconds * 1000, signal));
  };
  const report = await runDemo(demoOptions(options, { tunnel_delay_ms: TUNNEL_DELAY_MS, barrier_skew_ms: BARRIER_SKEW_MS }), { signal, display, afterwards: measure });
  const [calm, stormy] = [distribution(pauses.calm), distribution(pauses.stormy)];
  return {
    ...common(report, options), schema: 'virtcft/report/weather/1',
    params: { seconds: options.seconds, interval_ms: options.interval_ms, tunnel_delay_ms: TUNNEL_DELAY_MS, barrier_skew_ms: BARRIER_SKEW_MS },
    pause_ms: { calm, stormy }, ratio_stormy_to_calm: ratio(stormy.p50, calm.p50),
  };
}

/** Every guest's pauses in a window of this weather; cuts that compared the whole memory are left out. */
async function pausesIn({ installation: { relay }, watch }: World, window: Window, length_ms: number, signal: AbortSignal): Promise<number[]> {
  if (relay === null) throw new Error('the demo runs without a relay');
  await relay.setAll(window === 'stormy' ? { delay_ms: TUNNEL_DELAY_MS } : {});
  await relay.skew(window === 'stormy' ? BARRIER_SKEW_MS : 0);
  await wait(SETTLE_MS, undefined, { signal });
  const from = watch.facts.length;
  await wait(length_ms, undefined, { signal });
  return all(watch.facts.slice(from), 'segments.stored').filter(({ data }) => data.verified.checks === 0).flatMap(({ data }) => data.pauses.map(({ pause_ms }) => pause_ms));
}
