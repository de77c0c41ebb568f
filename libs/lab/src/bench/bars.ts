import type { ReportName, ReportOf } from '../report/schemas.js';
import { nbdPatterns } from '../report/bench-reports.js';
import { phases } from '../report/demo-report.js';

/** What a bench must reach. Each judge names every bar that is missed. */
const judges: { [N in Extract<ReportName, `bench/${string}`>]: (report: ReportOf<N>) => (string | false)[] } = {
  'bench/pause': (report) => [
    over(report.pause_ms.p50, 6) && `pause p50 ${report.pause_ms.p50} ms is over 6 ms`,
    over(report.host_pause_ms.p50, 6) && `pause p50 of a host's cut of two VMs with network and disks ${report.host_pause_ms.p50} ms is over 6 ms`,
    over(report.ratio, 0.2) && `pause is ${report.ratio} of QEMU's stop and full migration; at most 0.2`,
    over(report.ratio_512_to_128, 1.5) && `pause at 512 MiB is ${report.ratio_512_to_128} of that at 128 MiB; at most 1.5`,
  ],
  'bench/recovery': (report) => [
    over(report.total_ms.p50, 1500) && `recovery p50 ${report.total_ms.p50} ms is over 1500 ms`,
    report.violations > 0 && `${report.violations} violations`,
  ],
  'bench/idle': (report) => [report.false_alarms > 0 && `${report.false_alarms} false alarms`],
  'bench/overhead': () => [],
  'bench/fabric': (report) => [
    under(report.ratio_to_js_switch, 3) && `the switch carries ${report.ratio_to_js_switch} of what a loop in JavaScript does; at least 3`,
    under(report.ratio_to_linux_bridge, 0.5) && `the switch carries ${report.ratio_to_linux_bridge} of what a Linux bridge does; at least 0.5`,
    report.offloads.length > 0 && `measured with ${report.offloads.join(', ')} on`,
  ],
  'bench/soak': (report) => [
    report.violations > 0 && `${report.violations} violations`,
    report.failed_runs.length > 0 && `${report.failed_runs.length} runs failed`,
    ...phases.map((phase) => (report.phases[phase] ?? 0) < 2 && `phase ${phase} was hit ${report.phases[phase] ?? 0} times; at least 2`),
  ],
  'bench/nbd': (report) => nbdPatterns.map((pattern) => under(report.ratios[pattern], 0.7) && `${pattern} is ${report.ratios[pattern]} of qemu-nbd; at least 0.7`),
  'bench/delta': (report) => [
    over(report.stored_to_dirty, 0.2) && `stored bytes are ${report.stored_to_dirty} of what was written; at most 0.2`,
    over(report.stored_to_zstd1, 0.5) && `stored bytes are ${report.stored_to_zstd1} of zstd's at level 1; at most 0.5`,
    under(report.encode_to_memcpy, 0.3) && `pages are encoded at ${report.encode_to_memcpy} of the speed of a copy; at least 0.3`,
  ],
  'bench/chain': (report) => [over(report.ratio_1000_to_10, 1.3) && `a cut is folded after 1000 cuts in ${report.ratio_1000_to_10} of the time after 10; at most 1.3`],
  'bench/flip': (report) => [
    report.detected < report.flips && `${report.flips - report.detected} of ${report.flips} were not named by the audit: ${report.unnoticed[0] ?? ''}`,
    under(report.flips, 2000) && `${report.flips} flips; at least 2000`,
    report.wrong_restores > 0 && `${report.wrong_restores} restores gave other contents`,
  ],
  'bench/seal': () => [],
  'bench/seed': (report) => [
    over(report.pause_ms.after.p50 === null || report.others_pause_ms.after.p50 === null ? null : report.pause_ms.after.p50 / report.others_pause_ms.after.p50, 2) && `pause of the large VM ${report.pause_ms.after.p50} ms is over twice that of a small one, ${report.others_pause_ms.after.p50} ms`,
    over(report.others_pause_ms.during.p50 === null || report.others_pause_ms.after.p50 === null ? null : report.others_pause_ms.during.p50 / report.others_pause_ms.after.p50, 1.5) && `pause of the others while it is seeded ${report.others_pause_ms.during.p50} ms is over 1.5 of that afterwards, ${report.others_pause_ms.after.p50} ms`,
    over(report.agent_peak_bytes - report.agent_base_bytes, 512 * 2 ** 20) && `the agent held ${report.agent_peak_bytes - report.agent_base_bytes} bytes beside the base; at most 512 MiB`,
    over(report.replica_store_peak_bytes, 1024 * 2 ** 20) && `the replica store held ${report.replica_store_peak_bytes} bytes; at most 1 GiB`,
  ],
  // Medians of two windows of one kind differ by up to a tenth here.
  'bench/weather': (report) => [over(report.ratio_stormy_to_calm, 1.2) && `pause under slow tunnels and late decisions is ${report.ratio_stormy_to_calm} of that without; at most 1.2`],
  'bench/store-faults': (report) => [
    report.lost_commits > 0 && `${report.lost_commits} commits that were announced are not whole in the store`,
    report.violations > 0 && `${report.violations} violations`,
    report.failed_runs.length > 0 && `${report.failed_runs.length} runs failed`,
    report.raises > 0 && `${report.raises} recoveries though no host was lost`,
    report.runs < 50 && `${report.runs} seeds; at least 50`,
  ],
  'bench/commit': (report) => [over(report.ratio_to_put, 2.5) && `a commit takes ${report.ratio_to_put} of one put of its segment bytes; at most 2.5`],
};

/** The bars that this report misses; a figure that was not measured is missed. */
export function missedBars<N extends keyof typeof judges>(name: N, report: ReportOf<N>): string[] {
  return judges[name](report).filter((missed) => missed !== false);
}

const under = (value: number | null, bar: number): boolean => value === null || value < bar;
const over = (value: number | null, bar: number): boolean => value === null || value > bar;
