import type { DrillCheck, DrillResult } from '@virtcft/events';

/**
 * Whether the drill passed. A VM that ran in the cut and runs no more fails it, whatever the check says; so does a guest that was off in the cut and
 * whose hypervisor has ended.
 */
export function judge(vms: DrillResult['vms'], check: DrillCheck | null, timeout_s: number): { readonly ok: boolean; readonly reason: string | null } {
  const fallen = vms.filter(({ began, ended }) => ended === 'exited' || (began === 'running' && ended !== 'running'));
  const reasons = [
    ...fallen.map(({ vm, ended }) => `VM ${vm} ${ended === 'panicked' ? 'panicked' : ended === 'exited' ? 'ended' : `is ${ended}`}`),
    ...(check === null || check.exit_code === 0 ? [] : [check.timed_out ? `the check did not end within ${timeout_s} s` : check.signal === null ? `the check ended with ${check.exit_code ?? 'nothing'}` : `the check was ended by ${check.signal}`]),
  ];
  return { ok: reasons.length === 0, reason: reasons.length === 0 ? null : reasons.join('; ') };
}
